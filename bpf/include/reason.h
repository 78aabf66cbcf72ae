// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Every reason to pass, redirect or drop a connection. Each is a per-CPU
 * counter; its name in lower case is its label in metrics, and
 * ambient/kernel/reason.py has the same list in the same order.
 */
#pragma once

enum reason {
	/* redirect.c */
	PASS_NOT_TCP,
	PASS_UNKNOWN_NAMESPACE, /* no pod of this node has this netns */
	PASS_OUTBOUND_OFF, /* the pod drains, or is only just being added */
	PASS_PROXY, /* root mode: the proxy's own socket */
	PASS_LOOPBACK,
	PASS_LINK_LOCAL, /* has no meaning outside its link */
	PASS_EXCLUDED_PORT,
	PASS_EXCLUDED_NETWORK,
	PASS_REDIRECTED, /* a nested cgroup's program did it already */
	REDIRECT_OUTBOUND,
	REDIRECT_BOUND_DEVICE, /* the binding could not be lifted */
	DROP_NO_STORAGE, /* no memory to remember the destination in */
	/* sockops.c */
	DROP_NO_ORIGINAL_DESTINATION, /* not written: the proxy will refuse */
	CONNECT_FAILED, /* before it was established */
	CLIENT_RESTORED, /* an accepted socket learnt its real client */
	CLIENT_LOST, /* no memory to remember it in */
	/* flows.c */
	FLOW_KEPT, /* the ring is full: it waits in `flows` */
	FLOW_NOT_LISTED, /* `flows` is full: told at its end alone */
	FLOW_LOST, /* neither told nor kept, save in the sums */
	/* names.c */
	NAME_NOT_IPV4, /* an IPv4 socket whose real peer has IPv6 */
	/* plain_tcp.c */
	REFUSE_MPTCP,
	/* prober.c */
	ADMIT_PROBE,
	/* capture.c */
	CAPTURE_HBONE,
	CAPTURE_PLAINTEXT,
	PASS_INBOUND_LOOPBACK,
	PASS_INBOUND_ADMITTED,
	PASS_INBOUND_OWN, /* from the pod's own address: its proxy */
	PASS_INBOUND_EXCLUDED_PORT,
	PASS_INBOUND_OFF,
	PASS_INBOUND_NOT_TCP,
	DROP_UNKNOWN_ADDRESS, /* not an address of a pod of this node */
	DROP_NO_LISTENER, /* the proxy is gone: fail closed */
	DROP_NOT_ASSIGNED, /* the kernel refused the listener */
	REASONS
};
