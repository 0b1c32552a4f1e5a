"""A worker that does in the middle of its life what a test wants it to, for tests.

It does the code that it finds in the file `order.SLOT` beside the control socket, removes the file, and waits
for the next. The code may use `listeners`, the sockets that it was given. With the word `ack` it acknowledges,
and keeps that connection. Nothing outlives LIFETIME_SECS, so that a failed test leaves nothing behind.
"""
import fcntl, json, os, signal, socket, subprocess, sys, time

LIFETIME_SECS = 900

signal.alarm(LIFETIME_SECS)
folder = os.path.dirname(os.environ["EINHORN_SOCK_PATH"])
order = os.path.join(folder, "order." + os.environ["EINHORN_CHILD_INDEX"])
listeners = [socket.socket(fileno=3 + number) for number in range(int(os.environ["EINHORN_FD_COUNT"]))]


def stray(*sockets):
    """A process in a session of its own that has some of the sockets and does nothing; its pid."""
    fds = [it.fileno() for it in sockets]
    return subprocess.Popen(["sleep", str(LIFETIME_SECS)], start_new_session=True, pass_fds=fds).pid


def note(what):
    """Writes the answer to an order, whole."""
    with open(order + ".part", "w") as file:
        file.write(str(what))
    os.rename(order + ".part", order + ".done")


if sys.argv[1:] == ["ack"]:
    control = socket.socket(socket.AF_UNIX)
    control.connect(os.environ["EINHORN_SOCK_PATH"])
    control.sendall(json.dumps({"command": "worker:ack", "pid": os.getpid()}).encode() + b"\n")

while True:
    try:
        with open(order) as file:
            code = file.read()
        os.remove(order)
    except FileNotFoundError:
        time.sleep(0.01)
        continue
    answer = None
    exec(code)
    note(answer)
