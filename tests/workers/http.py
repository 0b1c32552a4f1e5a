#!/usr/bin/env python3
"""An HTTP worker that is replaced without a dropped connection: an example to copy from.

    einhyrningsins -m -n 4 -b 127.0.0.1:8080,r,n python3 tests/workers/http.py

It answers every GET with one line that says who answered. When the stop signal comes (USR2; TERM and INT
leave less time) it stops accepting, answers whoever still asks with `Connection: close`, leaves idle
clients a moment, since their next request may be under way, and exits when no connection is left.

Settings, from the environment: DEMO_VERSION (shown in the answers), DEMO_LINGER (seconds that an idle
connection is left after the stop signal), DEMO_ADDR (where to listen without supervisor).
"""
import json, os, selectors, signal, socket, sys, time

IDLE, TRANSFER = 60.0, 5.0  # seconds that a connection may stay without a request; that a request may take
LINGER = float(os.environ.get("DEMO_LINGER", 2.0))  # seconds that idle connections are left after USR2
HURRY = min(LINGER, 0.5)  # and after TERM or INT
GOODBYE = 1.0  # seconds to wait for the client's FIN after ours
ACCEPT_PAUSE = 0.1  # seconds to leave the listeners alone when the system cannot accept
MAX_HEAD = 8 * 1024  # bytes of the longest request
SUPERVISED = os.environ.get("EINHORN_MASTER_PID") == str(os.getppid())
INDEX = os.environ.get("EINHORN_CHILD_INDEX", "-") if SUPERVISED else "-"
LINE = f"worker {INDEX} pid {os.getpid()} version {os.environ.get('DEMO_VERSION', '1')}\n"


def complain(message):
    print(f"http worker, pid {os.getpid()}: {message}", file=sys.stderr)


def open_listeners():
    """The inherited sockets, or one of our own."""
    if SUPERVISED:
        numbers = [os.environ[f"EINHORN_FD_{i}"] for i in range(int(os.environ["EINHORN_FD_COUNT"]))]
        return [socket.socket(fileno=int(number)) for number in numbers]
    host, _, port = os.environ.get("DEMO_ADDR", "127.0.0.1:8080").rpartition(":")
    return [socket.create_server((host, int(port)))]


def ack():
    """Tells the supervisor that this worker is ready."""
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(2)
            control.connect(os.environ["EINHORN_SOCK_PATH"])
            control.sendall(json.dumps({"command": "worker:ack", "pid": os.getpid()}).encode() + b"\n")
            reply = json.loads(control.makefile("rb").readline(64 * 1024) or b"{}")
            if reply.get("ok") is False:
                raise OSError(f"refused: {reply.get('message')}")
    except socket.timeout:
        pass  # the line is delivered; not every supervisor replies
    except (OSError, KeyError, ValueError) as error:
        # No reason to give up: without --manual nobody waits for it, and with it the supervisor decides.
        complain(f"cannot acknowledge: {error!r}")


class Connection:
    def __init__(self, stream):
        self.stream, self.input, self.output = stream, b"", b""
        self.stage = "serving"  # then "last answer"; then "goodbye": our side is shut, the client's not yet
        self.deadline = time.monotonic() + IDLE

    def advance(self, draining):
        """Goes as far as it can now, and returns the events to wait for: none at the end."""
        try:
            for _ in range(64):  # then others have a turn
                if self.output:  # one answer at a time: a client that does not read is not read from
                    self.output = self.output[self.stream.send(self.output):]
                elif self.stage == "last answer":
                    # Closing with unread data would reset the connection, and the client might lose the
                    # last answer: shut our side only, and drop what comes until the client closes too.
                    self.stream.shutdown(socket.SHUT_WR)
                    self.stage, self.deadline = "goodbye", time.monotonic() + GOODBYE
                elif self.stage == "goodbye" or not self.answer(draining):
                    data = self.stream.recv(4096)
                    if not data:
                        return 0
                    if self.stage == "serving":
                        if not self.input:
                            self.deadline = time.monotonic() + TRANSFER
                        self.input += data
            return selectors.EVENT_READ | selectors.EVENT_WRITE
        except BlockingIOError:
            return selectors.EVENT_WRITE if self.output else selectors.EVENT_READ
        except OSError:
            return 0

    def answer(self, draining):
        """Answers the first request in the input, if it is there as a whole."""
        head, complete, rest = self.input.partition(b"\r\n\r\n")
        if not complete and len(head) <= MAX_HEAD:
            return False
        status, keep = parse(head) if len(head) <= MAX_HEAD else ("431 Request Header Fields Too Large", False)
        self.input = rest
        # Of several requests sent at once, the last gets the `Connection: close`.
        keep = keep and not (draining and not rest)
        self.stage = "serving" if keep else "last answer"
        self.deadline = time.monotonic() + (IDLE if keep and not rest else TRANSFER)
        body = LINE if status == "200 OK" else status + "\n"
        self.output = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n{body}"
        ).encode()
        return True


def parse(head):
    """The status that answers a request, and whether the connection may be kept."""
    request, *lines = head.decode("latin-1").split("\r\n")
    words, fields = request.split(" "), [line.lower().partition(":") for line in lines]
    if len(words) != 3 or not all(colon for _, colon, _ in fields):
        return "400 Bad Request", False
    if words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        return "505 HTTP Version Not Supported", False
    if any(n == "transfer-encoding" or n == "content-length" and v.strip() != "0" for n, _, v in fields):
        return "413 Content Too Large", False
    if words[0] != "GET":
        return "405 Method Not Allowed", False
    options = [option.strip() for n, _, v in fields if n == "connection" for option in v.split(",")]
    return "200 OK", "close" not in options and (words[2] == "HTTP/1.1" or "keep-alive" in options)


class Server:
    def __init__(self):
        self.draining, self.connections, self.accept_at = False, set(), None
        # Before the ack: an acknowledged worker may be told to stop at any moment.
        self.wakeup, signalled = socket.socketpair()
        self.wakeup.setblocking(False)
        signalled.setblocking(False)
        signal.set_wakeup_fd(signalled.detach())
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # what counts is the byte that arrives at `wakeup`
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.wakeup, selectors.EVENT_READ, self.drain)
        self.listeners = open_listeners()
        for listener in self.listeners:
            # Several workers wake up for one connection and one of them gets it: the others must not
            # block. The setting is shared by all workers, so better let the supervisor make it (`,n`).
            listener.setblocking(False)
            os.set_inheritable(listener.fileno(), False)
        self.listen(True)

    def listen(self, wanted):
        """Starts or stops to watch the listeners."""
        for listener in self.listeners:
            if wanted:
                self.selector.register(listener, selectors.EVENT_READ, self.accept)
            elif listener in self.selector.get_map():
                self.selector.unregister(listener)
        self.accept_at = None

    def accept(self):
        for listener in self.listeners:
            try:
                while True:
                    stream = listener.accept()[0]
                    stream.setblocking(False)
                    connection = Connection(stream)
                    self.connections.add(connection)
                    self.selector.register(stream, selectors.EVENT_READ, lambda it=connection: self.advance(it))
            except (BlockingIOError, ConnectionAbortedError):
                pass
            except OSError as error:
                # Out of descriptors, most likely. Trying at once would only spin.
                complain(f"cannot accept: {error}")
                self.listen(False)
                self.accept_at = time.monotonic() + ACCEPT_PAUSE
                return

    def advance(self, connection):
        events = connection.advance(self.draining)
        if events:
            self.selector.modify(connection.stream, events, self.selector.get_key(connection.stream).data)
        else:
            self.close(connection)

    def close(self, connection):
        self.selector.unregister(connection.stream)
        connection.stream.close()
        self.connections.remove(connection)

    def drain(self):
        """Stops accepting, and leaves every idle connection a moment for one more request."""
        gentle = set(self.wakeup.recv(4096)) == {signal.SIGUSR2}
        self.listen(False)
        self.draining, self.listeners = True, []
        for it in self.connections:
            idle = it.stage == "serving" and not it.input and not it.output
            patience = (LINGER if gentle else HURRY) if idle else TRANSFER
            it.deadline = min(it.deadline, time.monotonic() + patience)

    def expire(self):
        """Does what is due."""
        now = time.monotonic()
        if self.accept_at and self.accept_at <= now:
            self.listen(True)
        for connection in [it for it in self.connections if it.deadline <= now]:
            self.advance(connection)  # a request may have come in at the last moment
            if connection in self.connections and connection.deadline <= now:
                if connection.stage == "serving":
                    connection.stage, connection.deadline = "last answer", now + GOODBYE
                    self.advance(connection)
                else:
                    self.close(connection)

    def serve(self):
        while self.connections or not self.draining:
            times = [it.deadline for it in self.connections] + ([self.accept_at] if self.accept_at else [])
            ready = self.selector.select(max(0, min(times) - time.monotonic()) if times else None)
            for key, _ in ready:
                if key.fileobj.fileno() >= 0:  # not closed by an event before
                    key.data()
            self.expire()


if __name__ == "__main__":
    server = Server()
    ack() if SUPERVISED else None
    server.serve()
