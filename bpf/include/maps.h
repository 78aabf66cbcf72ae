// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The maps, each with the functions that reach it. Every name is also that of
 * its pin.
 */
#pragma once

#include "abi.h"
#include "reason.h"

#define MAX_CONNECTIONS 65536
#define MAX_EXCLUSIONS 65536
#define MAX_FLOWS (2 * MAX_CONNECTIONS)
#define FLOW_RING_PAGES 256
#define ADMISSION_NS (30ULL * 1000 * 1000 * 1000)

BPF_TABLE("hash", __u64, struct pod, pods, MAX_PODS);
BPF_TABLE("hash", struct address, struct local, addresses, 4 * MAX_PODS);
BPF_F_TABLE("hash", struct excluded_port, __u8, excluded_ports, MAX_EXCLUSIONS,
	    BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct excluded_network, __u8, excluded_networks,
	    MAX_EXCLUSIONS, BPF_F_NO_PREALLOC);
BPF_TABLE("sockmap", __u32, __u64, listeners, MAX_PODS *SLOTS_PER_POD);
BPF_TABLE("percpu_array", __u32, __u64, reasons, REASONS);

/* Connection to the proxy -> where it meant to go; the proxy takes it. */
BPF_TABLE("lru_hash", struct tuple, struct endpoint, original_destinations,
	  MAX_CONNECTIONS);
/* Connection from the proxy -> whose it is; the proxy writes it. */
BPF_TABLE("lru_hash", struct tuple, struct endpoint, clients, MAX_CONNECTIONS);
/* Connection that capture lets through -> when it began, in ns of uptime. */
BPF_TABLE("lru_hash", struct tuple, __u64, admissions, MAX_CONNECTIONS);

/* Ends of direct connections that live, and those that ended and could not be
 * told: the reader takes them from here.
 */
BPF_F_TABLE("hash", __u64, struct flow, flows, MAX_FLOWS, BPF_F_NO_PREALLOC);
BPF_TABLE("hash", __u64, struct flow_loss, flow_losses, MAX_PODS);
BPF_RINGBUF_OUTPUT(flow_records, FLOW_RING_PAGES);

BPF_SK_STORAGE(sockets, struct socket_state);
BPF_SK_STORAGE(flow_sockets, struct flow);

static __always_inline void count(__u32 reason)
{
	__u64 *counter = reasons.lookup(&reason);

	if (counter)
		(*counter)++;
}

static __always_inline struct pod *pod_of(__u64 netns_cookie)
{
	return pods.lookup(&netns_cookie);
}

static __always_inline struct local *local_of(struct address *ip)
{
	return addresses.lookup(ip);
}

static __always_inline int is_excluded_port(__u32 index, __be16 port_be,
					    __u8 direction)
{
	struct excluded_port key = {
	    .index = index,
	    .port_be = port_be,
	    .direction = direction,
	};

	return excluded_ports.lookup(&key) != NULL;
}

static __always_inline int is_excluded_network(__u32 index,
					       const struct address *ip)
{
	struct excluded_network key = {
	    .prefix_bits = 32 + 128,
	    .index_be = bpf_htonl(index),
	    .ip = *ip,
	};

	return excluded_networks.lookup(&key) != NULL;
}

static __always_inline struct bpf_sock *listener_of(__u32 index, __u32 slot)
{
	__u32 key = index * SLOTS_PER_POD + slot;

	return (struct bpf_sock *)listeners.lookup(&key);
}

static __always_inline int remember_destination(struct tuple *key,
						struct endpoint *destination)
{
	return original_destinations.update(key, destination);
}

static __always_inline void forget_destination(struct tuple *key)
{
	original_destinations.delete(key);
}

static __always_inline struct endpoint *client_of(struct tuple *key)
{
	return clients.lookup(key);
}

static __always_inline void forget_client(struct tuple *key)
{
	clients.delete(key);
}

static __always_inline void admit(struct tuple *key)
{
	__u64 now = bpf_ktime_get_ns();

	admissions.update(key, &now);
}

static __always_inline int is_admitted(struct tuple *key)
{
	__u64 *since = admissions.lookup(key);

	return since && bpf_ktime_get_ns() - *since < ADMISSION_NS;
}

static __always_inline void dismiss(struct tuple *key)
{
	admissions.delete(key);
}

static __always_inline struct socket_state *state_of(void *socket)
{
	return sockets.sk_storage_get(socket, 0, 0);
}

static __always_inline struct socket_state *new_state_of(void *socket)
{
	return sockets.sk_storage_get(socket, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline void clear_state_of(void *socket)
{
	sockets.sk_storage_delete(socket);
}

static __always_inline struct flow *flow_of(void *socket)
{
	return flow_sockets.sk_storage_get(socket, 0, 0);
}

static __always_inline struct flow *new_flow_of(void *socket)
{
	return flow_sockets.sk_storage_get(socket, 0,
					   BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline void end_flow_of(void *socket)
{
	flow_sockets.sk_storage_delete(socket);
}

static __always_inline long tell_flow(struct flow *flow)
{
	return flow_records.ringbuf_output(flow, sizeof(*flow), 0);
}

static __always_inline int list_flow(__u64 *cookie, struct flow *flow)
{
	return flows.update(cookie, flow);
}

static __always_inline void unlist_flow(__u64 *cookie)
{
	flows.delete(cookie);
}

/* Sums alone, for want of room for more. */
static __always_inline void lose_flow(__u64 netns_cookie, __u64 sent,
				      __u64 received)
{
	struct flow_loss none = {};
	struct flow_loss *loss =
	    flow_losses.lookup_or_try_init(&netns_cookie, &none);

	if (!loss)
		return;
	__sync_fetch_and_add(&loss->connections, 1);
	__sync_fetch_and_add(&loss->sent, sent);
	__sync_fetch_and_add(&loss->received, received);
}
