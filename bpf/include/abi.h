// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The contract between bpf/ and ambient/kernel/abi.py.
 *
 * Plain C, so that a test can compile it without a kernel and compare every
 * offset. Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d;
 * ports are in network order too, and say so.
 */
#pragma once

#include <linux/types.h>

#define MAX_PODS 1024
#define SLOTS_PER_POD 4

/* Flags of a pod. */
#define POD_OUTBOUND (1 << 0)
#define POD_INBOUND (1 << 1)
#define POD_HBONE (1 << 2)

/* Ports of a pod's listeners. */
#define PORT_OUTBOUND 15001
#define PORT_PLAINTEXT 15006
#define PORT_HBONE 15008

/* Slots of a pod in `listeners`, counted from index * SLOTS_PER_POD. */
#define SLOT_OUTBOUND 0
#define SLOT_PLAINTEXT 1
#define SLOT_HBONE 2

#define DIRECTION_OUTBOUND 0
#define DIRECTION_INBOUND 1

/* Flags of a socket's state. */
#define SOCKET_REDIRECTED (1 << 0)
#define SOCKET_ACCEPTED (1 << 1)
#define SOCKET_OF_PROXY (1 << 2)
/* Goes from application to application: `peer` is what the client meant, or at
 * the accepted socket the client.
 */
#define SOCKET_DIRECT (1 << 3)

struct address {
	__be32 word[4];
};

struct endpoint {
	struct address ip;
	__be16 port_be;
	__u16 pad;
};

/* A connection's two ends. Loopback tuples repeat in every pod, hence the
 * namespace; 0 where no program can tell it (sk_lookup).
 */
struct tuple {
	__u64 netns_cookie;
	struct address source;
	struct address destination;
	__be16 source_port_be;
	__be16 destination_port_be;
	__u32 pad;
};

/* Value of `pods`, keyed by netns cookie. */
struct pod {
	__u32 index;
	__u32 flags;
	struct address own_v4; /* what getsockname shows; zero: has none */
	struct address own_v6;
};

/* Value of `addresses`, keyed by address. */
struct local {
	__u32 index;
	__u32 flags;
};

/* Key of `excluded_ports`. */
struct excluded_port {
	__u32 index;
	__be16 port_be;
	__u8 direction;
	__u8 pad;
};

/* Key of `excluded_networks`, a trie. prefix_bits counts the index too. */
struct excluded_network {
	__u32 prefix_bits;
	__be32 index_be;
	struct address ip;
};

/* What is remembered of a socket, in its own storage. */
struct socket_state {
	struct endpoint peer; /* what getpeername shows */
	struct address own; /* what getsockname shows instead of loopback */
	__u32 flags;
};

/* Which end of a direct connection a flow is. */
#define FLOW_OF_CLIENT 0
#define FLOW_OF_SERVER 1

/* How it ended. Cut: by a reset of either end, or destroyed. */
#define FLOW_LIVES 0
#define FLOW_FINISHED 1
#define FLOW_CUT 2
#define FLOW_TIMED_OUT 3

/* One end of a direct connection: value of `flows`, keyed by socket cookie, and
 * what is told in `flow_records`. Times are of uptime.
 */
struct flow {
	__u64 cookie;
	__u64 netns_cookie;
	__u64 began_ns;
	__u64 ended_ns; /* 0: it lives */
	__u64 sent; /* of its bytes, those that the other end has taken */
	__u64 received;
	struct endpoint own;
	struct endpoint peer; /* who is there */
	struct endpoint
	    meant; /* what the client meant, at the server the client */
	__u32 rtt_us;
	__u8 side;
	__u8 ending;
	__u8 has_got_fin; /* in the states that do not tell */
	__u8 pad;
	__u32 pad2;
};

/* What could neither be told nor kept. Value of `flow_losses`, keyed by netns
 * cookie.
 */
struct flow_loss {
	__u64 connections;
	__u64 sent;
	__u64 received;
};
