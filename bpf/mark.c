// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Root mode: the proxy's own sockets, by which the pods' programs know them. */
#include "include/maps.h"

/* Hook:      cgroup/sock_create, on the proxy's cgroup
 * Runs:      for each socket that the proxy makes, in whatever namespace
 * Returns:   1 lets it be; 0 (EPERM) when it cannot be marked
 * Fail mode: closed: an unmarked socket would be pointed back at the proxy
 * Kernel:    5.10 (socket storage in this hook)
 */
int mark_proxy(struct bpf_sock *ctx)
{
	struct socket_state *state;

	if (ctx->type != SOCK_STREAM)
		return 1;
	state = new_state_of(ctx);
	if (!state) {
		count(DROP_NO_STORAGE);
		return 0;
	}
	state->flags = SOCKET_OF_PROXY;
	return 1;
}
