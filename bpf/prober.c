// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Probes of the node's own prober reach applications past every policy. */
#include "include/ends.h"
#include "include/maps.h"

/* Hook:      cgroup/sock_ops, on the prober's cgroup (the kubelet's)
 * Runs:      as the prober's connections are begun and change state
 * Returns:   1, always
 * Fail mode: closed: a probe that is not admitted meets the pod's policy
 * Kernel:    5.10
 */
int admit_probe(struct bpf_sock_ops *ctx)
{
	struct ends ends;
	struct tuple key;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB &&
	    ctx->op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	ends = ends_of(ctx);
	key = outgoing(0, &ends);
	if (ctx->op == BPF_SOCK_OPS_STATE_CB) {
		if (ctx->args[1] == BPF_TCP_CLOSE)
			dismiss(&key);
		return 1;
	}
	if (!local_of(&ends.remote))
		return 1;
	admit(&key);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
					   BPF_SOCK_OPS_STATE_CB_FLAG);
	count(ADMIT_PROBE);
	return 1;
}
