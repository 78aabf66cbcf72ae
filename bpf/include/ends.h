// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A connection's tuple as sock_ops programs see it. */
#pragma once

#include "address.h"

struct ends {
	struct address local, remote;
	__be16 local_port_be, remote_port_be;
};

/* local_port is in host order, remote_port in network order and 32 bits wide.
 * A v4-mapped socket says AF_INET6 and gives mapped addresses.
 */
static __always_inline struct ends ends_of(struct bpf_sock_ops *given)
{
	volatile struct bpf_sock_ops *ctx = given;
	struct ends ends;

	if (ctx->family == AF_INET) {
		ends.local = mapped(ctx->local_ip4);
		ends.remote = mapped(ctx->remote_ip4);
	} else {
		ends.local = address6(ctx->local_ip6);
		ends.remote = address6(ctx->remote_ip6);
	}
	ends.local_port_be = bpf_htons(ctx->local_port);
	ends.remote_port_be = bpf_htons(bpf_ntohl(ctx->remote_port));
	return ends;
}

static __always_inline struct tuple outgoing(__u64 netns_cookie,
					     const struct ends *ends)
{
	struct tuple key = {
	    .netns_cookie = netns_cookie,
	    .source = ends->local,
	    .destination = ends->remote,
	    .source_port_be = ends->local_port_be,
	    .destination_port_be = ends->remote_port_be,
	};

	return key;
}

static __always_inline struct tuple incoming(__u64 netns_cookie,
					     const struct ends *ends)
{
	struct tuple key = {
	    .netns_cookie = netns_cookie,
	    .source = ends->remote,
	    .destination = ends->local,
	    .source_port_be = ends->remote_port_be,
	    .destination_port_be = ends->local_port_be,
	};

	return key;
}
