/* The application behind every peer: one thread, three ports.
 *
 *	serve HOST PORT [--body BYTES]
 *
 * PORT      HTTP/1.1: every request is answered with a fixed body; "Connection: close" is obeyed
 * PORT + 1  a source: sends until the client says one byte, then closes
 * PORT + 2  a sink: tells after each mebibyte how many bytes it has got (8 bytes, big endian)
 */
#define _GNU_SOURCE
#include "common.h"

#include <endian.h>

enum role { HTTP, SOURCE, SINK, ROLES };

#define CHUNK (256 * 1024)
#define REPORT_EVERY (1024 * 1024)

struct client {
	int fd;
	enum role role;
	int matched;
	bool closes;
	uint64_t taken, reported;
	size_t tail_size;
	char tail[32];
};

static char chunk[CHUNK], answer[128 * 1024];
static size_t answer_size;
static int epoll;

static void drop(struct client *client)
{
	close(client->fd);
	free(client);
}

static bool say(struct client *client, const void *data, size_t size)
{
	return send(client->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* Requests have no bodies, so an empty line ends one; the loads ask for a close in the last bytes before it. */
static bool answered(struct client *client)
{
	static const char end[] = "\r\n\r\n", closing[] = "Connection: close\r\n\r\n";
	ssize_t got = recv(client->fd, chunk, sizeof(chunk), 0);

	if (got < 0 && errno == EAGAIN)
		return true;
	if (got <= 0)
		return false;
	for (ssize_t i = 0; i < got; i++) {
		if (client->tail_size == sizeof(client->tail))
			memmove(client->tail, client->tail + 1, --client->tail_size);
		client->tail[client->tail_size++] = chunk[i];
		if (chunk[i] != end[client->matched]) {
			client->matched = chunk[i] == '\r';
			continue;
		}
		if (++client->matched < 4)
			continue;
		client->matched = 0;
		size_t length = sizeof(closing) - 1;
		bool closes = client->tail_size >= length &&
			      !memcmp(client->tail + client->tail_size - length, closing, length);
		client->tail_size = 0;
		if (!say(client, answer, answer_size) || closes)
			return false;
	}
	return true;
}

static bool poured(struct client *client, uint32_t events)
{
	char word;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t got = recv(client->fd, &word, 1, 0);

		if (got >= 0 || errno != EAGAIN)
			return false;
	}
	if (events & EPOLLOUT && send(client->fd, chunk, sizeof(chunk), MSG_NOSIGNAL) < 0)
		return errno == EAGAIN;
	return true;
}

static bool drained(struct client *client)
{
	ssize_t got = recv(client->fd, chunk, sizeof(chunk), 0);

	if (got < 0 && errno == EAGAIN)
		return true;
	if (got > 0)
		client->taken += got;
	if (client->taken - client->reported >= REPORT_EVERY || got <= 0) {
		uint64_t report = htobe64(client->taken);

		client->reported = client->taken;
		say(client, &report, sizeof(report));
	}
	return got > 0;
}

static bool served(struct client *client, uint32_t events)
{
	switch (client->role) {
	case HTTP:
		return answered(client);
	case SOURCE:
		return poured(client, events);
	default:
		return drained(client);
	}
}

static int listening(const char *host, int port)
{
	char text[8];
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(text, sizeof(text), "%d", port);
	struct sockaddr_in address = address_of(host, text);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4096) < 0)
		fail("listen");
	return fd;
}

static void welcome(int listener, enum role role)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *client = calloc(1, sizeof(*client));

		client->fd = fd;
		client->role = role;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		/* An answer is said at once or not at all. */
		if (role == HTTP && answer_size > 16 * 1024) {
			int room = 2 * answer_size;

			setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
		}
		watch(epoll, EPOLL_CTL_ADD, fd, role == SOURCE ? EPOLLIN | EPOLLOUT : EPOLLIN, (uintptr_t)client);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[256];
	int listeners[ROLES];

	if (argc < 3)
		return 2;
	size_t body = option(argc, argv, "--body", 1024);
	answer_size = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body);
	if (answer_size + body > sizeof(answer))
		return 2;
	memset(answer + answer_size, 'x', body);
	answer_size += body;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int role = 0; role < ROLES; role++) {
		listeners[role] = listening(argv[1], atoi(argv[2]) + role);
		watch(epoll, EPOLL_CTL_ADD, listeners[role], EPOLLIN, role);
	}
	puts("{\"event\": \"listening\"}");
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(epoll, events, 256, -1);

		for (int i = 0; i < ready; i++) {
			uint64_t data = events[i].data.u64;

			if (data < ROLES) {
				welcome(listeners[data], data);
				continue;
			}
			struct client *client = (struct client *)(uintptr_t)data;
			if (!served(client, events[i].events))
				drop(client);
		}
	}
}
