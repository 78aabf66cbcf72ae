// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Plain TCP instead of MPTCP. */
#include "include/maps.h"

/* Hook:      cgroup/sock_create, on the pod's cgroup (root mode: the v2 root)
 * Runs:      for each socket made
 * Returns:   1 lets it be; 0 with ENOPROTOOPT for MPTCP, as a kernel says where
 *            MPTCP is switched off, so that programs fall back to TCP
 * Fail mode: not attached: MPTCP clients see the proxy's name as their peer's
 * Kernel:    5.18 (bpf_set_retval)
 */
int plain_tcp(struct bpf_sock *ctx)
{
	struct pod *pod;

	if (ctx->protocol != IPPROTO_MPTCP)
		return 1;
	pod = pod_of(bpf_get_netns_cookie(ctx));
	if (!pod || !(pod->flags & (POD_OUTBOUND | POD_INBOUND)))
		return 1;
	count(REFUSE_MPTCP);
	bpf_set_retval(-ENOPROTOOPT);
	return 0;
}
