// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Addresses, all 16 bytes. */
#pragma once

#include "abi.h"

static __always_inline struct address mapped(__be32 ip4)
{
	struct address ip = {{0, 0, bpf_htonl(0xffff), ip4}};

	return ip;
}

/* The context is read word by word through a volatile pointer: two words read
 * at once are an access that the verifier refuses.
 */
static __always_inline struct address address6(const volatile __u32 *word)
{
	struct address ip;

	ip.word[0] = word[0];
	ip.word[1] = word[1];
	ip.word[2] = word[2];
	ip.word[3] = word[3];
	return ip;
}

static __always_inline int is_v4(const struct address *ip)
{
	return !ip->word[0] && !ip->word[1] && ip->word[2] == bpf_htonl(0xffff);
}

/* The unspecified address is one too: connecting to it means loopback. */
static __always_inline int is_loopback(const struct address *ip)
{
	if (is_v4(ip))
		return (bpf_ntohl(ip->word[3]) >> 24) == 127 || !ip->word[3];
	return !ip->word[0] && !ip->word[1] && !ip->word[2] &&
	       (ip->word[3] == bpf_htonl(1) || !ip->word[3]);
}

static __always_inline int is_nothing(const struct address *ip)
{
	return !ip->word[0] && !ip->word[1] && !ip->word[2] && !ip->word[3];
}

static __always_inline int is_link_local6(const struct address *ip)
{
	return (bpf_ntohl(ip->word[0]) >> 22) == 0xfe80 >> 6;
}

static __always_inline int same_address(const struct address *a,
					const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] &&
	       a->word[2] == b->word[2] && a->word[3] == b->word[3];
}
