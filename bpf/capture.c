// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Inbound: hand connections to a pod's proxy. */
#include "include/address.h"
#include "include/maps.h"

static __always_inline int verdict(__u32 reason, int answer)
{
	count(reason);
	return answer;
}

/* No listener means that no proxy holds it any more. The connection is refused
 * at once: letting it through would skip the pod's policy.
 */
static __always_inline int give(struct bpf_sk_lookup *ctx, __u32 index,
				__u32 slot, __u32 reason)
{
	struct bpf_sock *listener = listener_of(index, slot);
	long error;

	if (!listener)
		return verdict(DROP_NO_LISTENER, SK_DROP);
	error = bpf_sk_assign((void *)ctx, (void *)listener, 0);
	bpf_sk_release((void *)listener);
	if (error)
		return verdict(DROP_NOT_ASSIGNED, SK_DROP);
	return verdict(reason, SK_PASS);
}

/* Hook:      sk_lookup, in the pod's network namespace
 * Runs:      for a packet that belongs to no connection, before the kernel
 *            looks for a listener
 * Returns:   SK_PASS, with the proxy's listener or to whoever listens; SK_DROP
 * Fail mode: closed: SK_DROP without a listener or for an unknown address
 * Kernel:    5.9
 *
 * HBONE goes before the rule of the own address: a pod that calls itself
 * through its proxy arrives from there.
 */
int capture_inbound(struct bpf_sk_lookup *given)
{
	volatile struct bpf_sk_lookup *ctx = given;
	struct tuple key = {};
	struct local *local;
	__u32 index, flags;

	if (ctx->protocol != IPPROTO_TCP)
		return verdict(PASS_INBOUND_NOT_TCP, SK_PASS);
	if (ctx->family == AF_INET) {
		key.source = mapped(ctx->remote_ip4);
		key.destination = mapped(ctx->local_ip4);
	} else {
		key.source = address6(ctx->remote_ip6);
		key.destination = address6(ctx->local_ip6);
	}
	key.source_port_be = ctx->remote_port;
	key.destination_port_be = bpf_htons(ctx->local_port);

	if (is_loopback(&key.destination))
		return verdict(PASS_INBOUND_LOOPBACK, SK_PASS);
	local = local_of(&key.destination);
	if (!local)
		return verdict(DROP_UNKNOWN_ADDRESS, SK_DROP);
	index = local->index;
	flags = local->flags;
	if (key.destination_port_be == bpf_htons(PORT_HBONE) &&
	    flags & POD_HBONE)
		return give(given, index, SLOT_HBONE, CAPTURE_HBONE);
	if (is_admitted(&key))
		return verdict(PASS_INBOUND_ADMITTED, SK_PASS);
	if (same_address(&key.source, &key.destination))
		return verdict(PASS_INBOUND_OWN, SK_PASS);
	if (is_excluded_port(index, key.destination_port_be, DIRECTION_INBOUND))
		return verdict(PASS_INBOUND_EXCLUDED_PORT, SK_PASS);
	if (!(flags & POD_INBOUND))
		return verdict(PASS_INBOUND_OFF, SK_PASS);
	return give(given, index, SLOT_PLAINTEXT, CAPTURE_PLAINTEXT);
}
