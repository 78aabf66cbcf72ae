// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Accounting of direct connections, which no proxy sees. */
#include "include/ends.h"
#include "include/maps.h"

#define TCP_FLAG_FIN 1

static __always_inline void watch(struct bpf_sock_ops *ctx, int flags)
{
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | flags);
}

static __always_inline void opened(struct bpf_sock_ops *ctx,
				   struct bpf_sock *socket, __u8 side)
{
	struct socket_state *state = state_of(socket);
	__u64 cookie, netns_cookie;
	struct ends ends;
	struct flow *flow;

	if (!state || !(state->flags & SOCKET_DIRECT))
		return;
	cookie = bpf_get_socket_cookie(ctx);
	netns_cookie = bpf_get_netns_cookie(ctx);
	ends = ends_of(ctx);
	flow = new_flow_of(socket);
	if (!flow) {
		count(FLOW_LOST);
		lose_flow(netns_cookie, 0, 0);
		return;
	}
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->cookie = cookie;
	flow->netns_cookie = netns_cookie;
	flow->began_ns = bpf_ktime_get_ns();
	flow->own.ip = ends.local;
	flow->own.port_be = ends.local_port_be;
	flow->peer.ip = ends.remote;
	flow->peer.port_be = ends.remote_port_be;
	flow->meant = state->peer;
	flow->rtt_us = ctx->srtt_us >> 3;
	flow->side = side;
	watch(ctx, BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG);
	if (list_flow(&cookie, flow))
		count(FLOW_NOT_LISTED);
	tell_flow(flow);
}

/* The kernel counts SYN and FIN where they advance its sequences: a client's
 * SYN, each FIN that was acknowledged and each that came.
 */
static __always_inline void measure(struct bpf_sock_ops *ctx, struct flow *flow)
{
	__u32 state = ctx->args[0];
	int closes_last = state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING;
	__u64 sent = ctx->bytes_acked, received = ctx->bytes_received;

	if (sent && flow->side == FLOW_OF_CLIENT)
		sent--;
	if (sent && (state == BPF_TCP_FIN_WAIT2 ||
		     (closes_last && ctx->snd_una == ctx->snd_nxt)))
		sent--;
	if (received && (state == BPF_TCP_CLOSE_WAIT || closes_last ||
			 (state == BPF_TCP_FIN_WAIT2 && flow->has_got_fin)))
		received--;
	flow->sent = sent;
	flow->received = received;
	flow->rtt_us = ctx->srtt_us >> 3;
	if (flow->ending == FLOW_TIMED_OUT)
		return;
	flow->ending = (state == BPF_TCP_FIN_WAIT2 && flow->has_got_fin) ||
			       (closes_last && ctx->snd_una == ctx->snd_nxt)
			   ? FLOW_FINISHED
			   : FLOW_CUT;
}

static __always_inline void closed(struct bpf_sock_ops *ctx,
				   struct bpf_sock *socket, struct flow *flow)
{
	__u64 cookie = flow->cookie;

	measure(ctx, flow);
	flow->ended_ns = bpf_ktime_get_ns();
	if (!tell_flow(flow)) {
		unlist_flow(&cookie);
	} else if (!list_flow(&cookie, flow)) {
		count(FLOW_KEPT);
	} else {
		count(FLOW_LOST);
		lose_flow(flow->netns_cookie, flow->sent, flow->received);
	}
	end_flow_of(socket);
}

/* Only in the states after our own FIN does the peer's go unseen. */
static __always_inline void changed(struct bpf_sock_ops *ctx,
				    struct bpf_sock *socket, struct flow *flow)
{
	if (ctx->args[1] == BPF_TCP_CLOSE)
		closed(ctx, socket, flow);
	else if (ctx->args[1] == BPF_TCP_FIN_WAIT1)
		watch(ctx, BPF_SOCK_OPS_PARSE_ALL_HDR_OPT_CB_FLAG);
}

/* Hook:      cgroup/sock_ops, on the pod's cgroup (root mode: the v2 root),
 *            after follow_connection, which marks what is direct
 * Runs:      as a connection is established, changes state, waits for an
 *            acknowledgement too long; for each packet once it has said FIN
 * Returns:   1, always
 * Fail mode: open: a connection that cannot be told is in the sums of losses
 * Kernel:    5.15 (netns cookie in this hook)
 */
int account_direct(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *socket = ctx->sk;
	struct flow *flow;

	if (!socket)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
		opened(ctx, socket, FLOW_OF_CLIENT);
		return 1;
	}
	if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		opened(ctx, socket, FLOW_OF_SERVER);
		return 1;
	}
	if (ctx->op != BPF_SOCK_OPS_STATE_CB &&
	    ctx->op != BPF_SOCK_OPS_RTO_CB &&
	    ctx->op != BPF_SOCK_OPS_PARSE_HDR_OPT_CB)
		return 1;
	flow = flow_of(socket);
	if (!flow)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_STATE_CB)
		changed(ctx, socket, flow);
	else if (ctx->op == BPF_SOCK_OPS_RTO_CB && ctx->args[2])
		flow->ending = FLOW_TIMED_OUT;
	else if (ctx->op == BPF_SOCK_OPS_PARSE_HDR_OPT_CB &&
		 ctx->skb_tcp_flags & TCP_FLAG_FIN)
		flow->has_got_fin = 1;
	return 1;
}
