// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Applications see the addresses that they would see with no mesh. */
#include "include/address.h"
#include "include/maps.h"

/* Who the application is to see at the other end, if not who is there. */
static __always_inline struct endpoint *shown_peer(struct bpf_sock_addr *ctx)
{
	struct socket_state *state = state_of(ctx->sk);

	if (!state || !(state->flags &
			(SOCKET_REDIRECTED | SOCKET_ACCEPTED | SOCKET_DIRECT)))
		return NULL;
	return &state->peer;
}

/* The pod's own address, where the real one is loopback because of us. */
static __always_inline struct address *shown_own(struct bpf_sock_addr *ctx,
						 const struct address *real)
{
	struct socket_state *state = state_of(ctx->sk);

	if (!state || !(state->flags & SOCKET_REDIRECTED) || !is_loopback(real))
		return NULL;
	if (is_nothing(&state->own))
		return NULL;
	return &state->own;
}

/* Hook:      cgroup/getpeername4, on the pod's cgroup (root mode: the v2 root)
 * Runs:      in getpeername(2), and in accept(2) when it is asked for a name
 * Returns:   1, always
 * Fail mode: open: the application sees the proxy's name
 * Kernel:    5.8
 */
int name_peer4(struct bpf_sock_addr *ctx)
{
	struct endpoint *peer = shown_peer(ctx);

	if (!peer)
		return 1;
	if (!is_v4(&peer->ip)) {
		count(NAME_NOT_IPV4);
		return 1;
	}
	ctx->user_ip4 = peer->ip.word[3];
	ctx->user_port = peer->port_be;
	return 1;
}

/* Hook:      cgroup/getpeername6; the rest as name_peer4 */
int name_peer6(struct bpf_sock_addr *given)
{
	volatile struct bpf_sock_addr *ctx = given;
	struct endpoint *peer = shown_peer(given);

	if (!peer)
		return 1;
	ctx->user_ip6[0] = peer->ip.word[0];
	ctx->user_ip6[1] = peer->ip.word[1];
	ctx->user_ip6[2] = peer->ip.word[2];
	ctx->user_ip6[3] = peer->ip.word[3];
	ctx->user_port = peer->port_be;
	return 1;
}

/* Hook:      cgroup/getsockname4, on the pod's cgroup (root mode: the v2 root)
 * Runs:      in getsockname(2)
 * Returns:   1, always
 * Fail mode: open: the application sees 127.0.0.1
 * Kernel:    5.8
 */
int name_own4(struct bpf_sock_addr *ctx)
{
	struct address real = mapped(ctx->user_ip4);
	struct address *own = shown_own(ctx, &real);

	if (own)
		ctx->user_ip4 = own->word[3];
	return 1;
}

/* Hook:      cgroup/getsockname6; the rest as name_own4 */
int name_own6(struct bpf_sock_addr *given)
{
	volatile struct bpf_sock_addr *ctx = given;
	struct address real = address6(ctx->user_ip6);
	struct address *own = shown_own(given, &real);

	if (!own)
		return 1;
	ctx->user_ip6[0] = own->word[0];
	ctx->user_ip6[1] = own->word[1];
	ctx->user_ip6[2] = own->word[2];
	ctx->user_ip6[3] = own->word[3];
	return 1;
}
