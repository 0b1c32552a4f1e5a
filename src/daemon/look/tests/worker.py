"""Waits on the socket that it has as descriptor 0, in one way or another.

worker.py WAY PLACE [NUMBER]: WAY is a name below, PLACE is where: in the process itself, in a thread of it, in
a child, in a grandchild, or in an orphan that is left in its group. NUMBER is that of the system call, for
ways that the C library takes by another call. Says the process that waits, on a line, just before it does.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
number = ctypes.c_long(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
listener = socket.socket(fileno=0)
other = socket.create_server(("127.0.0.1", 0))
PLENTY = 100


class PollFd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


def array(events, *descriptors):
    return (PollFd * len(descriptors))(*(PollFd(fd, events, 0) for fd in descriptors))


def bits(*descriptors):
    words = (ctypes.c_ulong * 16)()
    for fd in descriptors:
        words[fd // 64] |= 1 << fd % 64
    return words


def epoll(events, *descriptors):
    instance = select.epoll()
    for fd in descriptors:
        instance.register(fd, events)
    return instance


def raw(*arguments):
    libc.syscall(number, *arguments)


def removed():
    instance = epoll(select.EPOLLIN, listener)
    instance.unregister(listener)
    instance.poll()


def nested():
    inner = epoll(select.EPOLLIN, listener)
    epoll(select.EPOLLIN, inner).poll()


def registered():
    instance = epoll(select.EPOLLIN, listener)
    signal.pause()
    instance.close()


def beyond():
    """Among many descriptors."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    copies = [os.dup(other.fileno()) for _ in range(int(sys.argv[4]))]
    epoll(select.EPOLLIN, listener).poll()
    copies.clear()


def crowd():
    """One of many threads."""
    for _ in range(int(sys.argv[4])):
        threading.Thread(target=signal.pause, daemon=True).start()
    threading.Thread(target=listener.accept, daemon=True).start()
    signal.pause()


def serve():
    """Has accepted a connection, and has no time for another."""
    connection, _ = listener.accept()
    while connection.recv(1):
        pass
    signal.pause()


def connect():
    """Has a connection to the socket, and has not accepted it."""
    client = socket.socket(listener.family)
    client.connect(listener.getsockname())
    signal.pause()
    client.close()


def serve_other():
    client = socket.create_connection(other.getsockname())
    connection, _ = other.accept()
    signal.pause()
    connection.close()
    client.close()


ways = {
    "accept": lambda: raw(0, None, None),
    "accept4": listener.accept,
    "poll": lambda: raw(array(select.POLLIN, other.fileno(), 0), ctypes.c_ulong(2), -1),
    "ppoll": lambda: raw(array(select.POLLIN, other.fileno(), 0), ctypes.c_ulong(2), None, None, None),
    "select": lambda: raw(PLENTY, bits(other.fileno(), 0), None, None, None),
    "pselect6": lambda: raw(PLENTY, bits(other.fileno(), 0), None, None, None, None),
    "epoll": lambda: epoll(select.EPOLLIN, other, listener).poll(),
    "epoll-exclusive": lambda: epoll(select.EPOLLIN | select.EPOLLEXCLUSIVE, listener).poll(),
    "epoll-oneshot": lambda: epoll(select.EPOLLIN | select.EPOLLONESHOT, listener).poll(),
    "epoll-nested": nested,
    "epoll-registered": registered,
    "epoll-edge": lambda: epoll(select.EPOLLIN | select.EPOLLET, listener).poll(),
    "recvfrom": lambda: listener.recvfrom(1),
    "recvmsg": lambda: listener.recvmsg(1),
    "recvmmsg": lambda: raw(0, ctypes.create_string_buffer(64), 1, 0, None),
    "read": lambda: os.read(0, 1),
    "beyond": beyond,
    "crowd": crowd,
    "serve": serve,
    # These do not wait for the socket.
    "poll-write": lambda: raw(array(select.POLLPRI, 0), ctypes.c_ulong(1), -1),
    "poll-other": lambda: raw(array(select.POLLIN, other.fileno()), ctypes.c_ulong(1), -1),
    "select-write": lambda: raw(PLENTY, None, bits(0), None, None),
    "select-short": lambda: raw(5, bits(os.dup2(0, 9)), None, None, None),
    "epoll-write": lambda: epoll(select.EPOLLPRI, listener).poll(),
    "epoll-other": lambda: epoll(select.EPOLLIN, other).poll(),
    "epoll-removed": removed,
    "accept-other": other.accept,
    "sleep": signal.pause,
    "connect": connect,
    "serve-other": serve_other,
}


def wait():
    print(os.getpid(), flush=True)
    ways[sys.argv[1]]()


def fork(then):
    pid = os.fork()
    if pid == 0:
        then()
        os._exit(0)
    return pid


def child():
    os.waitpid(fork(wait), 0)


def grandchild():
    os.waitpid(fork(child), 0)


def orphan():
    os.waitpid(fork(lambda: fork(wait)), 0)
    signal.pause()


def thread():
    threading.Thread(target=wait, daemon=True).start()
    signal.pause()


{"self": wait, "thread": thread, "child": child, "grandchild": grandchild, "orphan": orphan}[sys.argv[2]]()
