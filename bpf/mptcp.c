// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* MPTCP sockets that are older than their pod's enrolment. */
#include "include/maps.h"

/* Hook:      cgroup/sock_ops, on the pod's cgroup (root mode: the v2 root)
 * Runs:      as a connection is begun: the socket is one subflow, while the
 *            application holds its parent
 * Returns:   1, always
 * Fail mode: open: the application sees the proxy's name as its peer's.
 *            Optional: kernels built without MPTCP refuse to load it
 * Kernel:    5.19
 */
int follow_mptcp(struct bpf_sock_ops *ctx)
{
	struct socket_state *subflow, *whole;
	struct bpf_sock *socket = ctx->sk;
	void *parent;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB || !socket)
		return 1;
	subflow = state_of(socket);
	if (!subflow || !(subflow->flags & SOCKET_REDIRECTED))
		return 1;
	parent = bpf_skc_to_mptcp_sock(socket);
	if (!parent)
		return 1;
	whole = new_state_of(parent);
	if (whole)
		*whole = *subflow;
	return 1;
}
