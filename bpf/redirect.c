// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Outbound: point a pod's connections at its proxy. */
#include "include/address.h"
#include "include/maps.h"

static __always_inline int pass(struct bpf_sock *socket, __u32 reason)
{
	clear_state_of(socket);
	count(reason);
	return 0;
}

/* The binding of a socket to a device keeps it from reaching loopback. Lifting
 * it takes CAP_NET_RAW of the process, which bound it without; from the pod's
 * own address the kernel finds the listener even so.
 */
static __always_inline int lift_device(struct bpf_sock_addr *ctx)
{
	char none[1] = {};

	return !ctx->sk->bound_dev_if ||
	       !bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, none,
			       sizeof(none));
}

/* Whether to connect to *listener instead of `meant`. 0 also when the
 * connection cannot be carried: then *refuse is set.
 */
static __always_inline int redirect(struct bpf_sock_addr *ctx,
				    struct endpoint *meant,
				    struct address *listener, int *refuse)
{
	struct bpf_sock *socket = ctx->sk;
	struct socket_state *state;
	struct address own;
	struct pod *pod;
	int v4 = is_v4(&meant->ip);

	if (ctx->protocol != IPPROTO_TCP) {
		count(PASS_NOT_TCP);
		return 0;
	}
	state = state_of(socket);
	if (state && state->flags & SOCKET_OF_PROXY) {
		count(PASS_PROXY);
		return 0;
	}
	pod = pod_of(bpf_get_netns_cookie(ctx));
	if (!pod)
		return pass(socket, PASS_UNKNOWN_NAMESPACE);
	own = v4 ? pod->own_v4 : pod->own_v6;
	if (state && state->flags & SOCKET_REDIRECTED &&
	    meant->port_be == bpf_htons(PORT_OUTBOUND) &&
	    (is_loopback(&meant->ip) || same_address(&meant->ip, &own))) {
		count(PASS_REDIRECTED);
		return 0;
	}
	if (!(pod->flags & POD_OUTBOUND))
		return pass(socket, PASS_OUTBOUND_OFF);
	if (is_loopback(&meant->ip))
		return pass(socket, PASS_LOOPBACK);
	if (is_link_local6(&meant->ip))
		return pass(socket, PASS_LINK_LOCAL);
	if (is_excluded_port(pod->index, meant->port_be, DIRECTION_OUTBOUND))
		return pass(socket, PASS_EXCLUDED_PORT);
	if (is_excluded_network(pod->index, &meant->ip))
		return pass(socket, PASS_EXCLUDED_NETWORK);

	state = new_state_of(socket);
	if (!state) {
		*refuse = 1;
		count(DROP_NO_STORAGE);
		return 0;
	}
	state->peer = *meant;
	state->own = own;
	state->flags = SOCKET_REDIRECTED;
	if (lift_device(ctx)) {
		struct address loopback6 = {{0, 0, 0, bpf_htonl(1)}};

		*listener = v4 ? mapped(bpf_htonl(0x7f000001)) : loopback6;
		count(REDIRECT_OUTBOUND);
	} else {
		*listener = own;
		count(REDIRECT_BOUND_DEVICE);
	}
	return 1;
}

/* Hook:      cgroup/connect4, on the pod's cgroup (root mode: the v2 root)
 * Runs:      in connect(2), fast open and io_uring included, before the kernel
 *            looks at the address
 * Returns:   1 lets the connection go on, wherever it points now; 0: EPERM
 * Fail mode: closed: with nobody at the listener the connection is refused,
 *            and one whose destination cannot be remembered is not made
 * Kernel:    5.10 (socket storage in this hook)
 */
int redirect_connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint meant = {
	    .ip = mapped(ctx->user_ip4),
	    .port_be = ctx->user_port,
	};
	struct address listener;
	int refuse = 0;

	if (redirect(ctx, &meant, &listener, &refuse)) {
		ctx->user_ip4 = listener.word[3];
		ctx->user_port = bpf_htons(PORT_OUTBOUND);
	}
	return !refuse;
}

/* Hook:      cgroup/connect6; the rest as redirect_connect4. A v4-mapped
 *            destination stays one: the listener is at ::ffff:127.0.0.1.
 */
int redirect_connect6(struct bpf_sock_addr *given)
{
	volatile struct bpf_sock_addr *ctx = given;
	struct endpoint meant = {
	    .ip = address6(ctx->user_ip6),
	    .port_be = ctx->user_port,
	};
	struct address listener;
	int refuse = 0;

	if (redirect(given, &meant, &listener, &refuse)) {
		ctx->user_ip6[0] = listener.word[0];
		ctx->user_ip6[1] = listener.word[1];
		ctx->user_ip6[2] = listener.word[2];
		ctx->user_ip6[3] = listener.word[3];
		ctx->user_port = bpf_htons(PORT_OUTBOUND);
	}
	return !refuse;
}
