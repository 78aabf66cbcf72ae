// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Connections between a pod and its proxy, as they come and go. */
#include "include/ends.h"
#include "include/maps.h"

/* Before the SYN leaves, so that the proxy finds the entry when it accepts. */
static __always_inline void connecting(struct bpf_sock_ops *ctx,
				       struct bpf_sock *socket)
{
	struct socket_state *state = state_of(socket);
	struct ends ends = ends_of(ctx);
	struct tuple key = outgoing(bpf_get_netns_cookie(ctx), &ends);

	if (!state || !(state->flags & SOCKET_REDIRECTED))
		return;
	if (remember_destination(&key, &state->peer))
		count(DROP_NO_ORIGINAL_DESTINATION);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
					   BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* One that never was established will never be accepted. An established one
 * may close before the proxy accepts it, which still takes its entry then.
 */
static __always_inline void failed(struct bpf_sock_ops *ctx)
{
	struct ends ends = ends_of(ctx);
	struct tuple key = outgoing(bpf_get_netns_cookie(ctx), &ends);

	forget_destination(&key);
	count(CONNECT_FAILED);
}

/* The proxy announced whose connection this is. */
static __always_inline void accepted(struct bpf_sock_ops *ctx,
				     struct bpf_sock *socket)
{
	struct ends ends = ends_of(ctx);
	struct tuple key = incoming(bpf_get_netns_cookie(ctx), &ends);
	struct endpoint *client = client_of(&key);
	struct socket_state *state;

	if (!client)
		return;
	state = new_state_of(socket);
	if (state) {
		state->peer = *client;
		state->flags = SOCKET_ACCEPTED;
		count(CLIENT_RESTORED);
	} else {
		count(CLIENT_LOST);
	}
	forget_client(&key);
}

/* Hook:      cgroup/sock_ops, on the pod's cgroup (root mode: the v2 root)
 * Runs:      as a connection is begun, accepted, or changes state
 * Returns:   1, always
 * Fail mode: closed: with no entry the proxy refuses the connection
 * Kernel:    5.15 (netns cookie in this hook)
 */
int follow_connection(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *socket = ctx->sk;

	if (!socket)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		connecting(ctx, socket);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		accepted(ctx, socket);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[0] == BPF_TCP_SYN_SENT &&
		    ctx->args[1] == BPF_TCP_CLOSE)
			failed(ctx);
		break;
	}
	return 1;
}
