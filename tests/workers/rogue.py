#!/bin/sh
''':'
# A worker that misbehaves on command, for tests. Read by two interpreters:
#
# `sh rogue.py WORDS` (or ./rogue.py) notes which signals are blocked and ignored, and then becomes
# Python. Only this way is `report` exact about signals, since Python ignores SIGPIPE and SIGXFSZ before
# its first line runs. `python3 rogue.py WORDS` leaves the shell out; only this way is `report` exact about
# the environment, since a shell adds PWD.
exec python3 "$0" --inherited "$(grep '^Sig[BI]' /proc/self/status)" "$@"
'''
__doc__ = """What the words mean; they may be combined, and are done from left to right:

    exit CODE [after SECS]           exits
    die-by SIGNAL [after SECS]       kills itself: 9, KILL or SIGKILL
    ack-then-exit CODE after SECS    acknowledges, lives on for a while, exits
    never-ack                        does not acknowledge at the end
    ack                              acknowledges here, not at the end
    ack-twice                        does so twice
    ack-other PID                    acknowledges for another process
    ignore-stop                      ignores USR2
    ignore-term                      ignores USR2 and TERM
    grandchildren N                  forks N processes that sleep in the same process group
    report FILE                      writes what it was given to FILE, as JSON
    sleep SECS                       sleeps

At the end it acknowledges, unless it was told not to or has done so, and waits for a signal. Every signal
has its default effect, unless it is ignored. Whatever the supervisor replies is shown on standard error.
Nothing outlives LIFETIME_SECS, so that a failed test leaves nothing behind.
"""
import fcntl, json, os, resource, signal, socket, stat, sys, time

LIFETIME_SECS = 900


class Rogue:
    def __init__(self, signals):
        self.signals, self.grandchildren, self.ack_at_end = signals, [], True

    def send_ack(self, pid):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(os.environ["EINHORN_SOCK_PATH"])
            control.sendall(json.dumps({"command": "worker:ack", "pid": pid}).encode() + b"\n")
            try:
                reply = control.makefile("rb").readline().decode().strip()
            except OSError as error:
                reply = repr(error)
            print(f"rogue {os.getpid()}: ack for {pid}: {reply}", file=sys.stderr, flush=True)

    def run(self, words):
        words = list(words)

        def after():
            """The optional `after SECS`."""
            if words[:1] == ["after"]:
                time.sleep(float(words[1]))
                del words[:2]

        while words:
            word = words.pop(0)
            if word == "exit":
                code = int(words.pop(0))
                after()
                leave(code)
            elif word == "die-by":
                number = signal_number(words.pop(0))
                after()
                die_by(number)
            elif word == "ack-then-exit":
                code = int(words.pop(0))
                self.send_ack(os.getpid())
                after()
                leave(code)
            elif word == "never-ack":
                self.ack_at_end = False
            elif word in ("ack", "ack-twice"):
                for _ in range(2 if word == "ack-twice" else 1):
                    self.send_ack(os.getpid())
                self.ack_at_end = False
            elif word == "ack-other":
                self.send_ack(int(words.pop(0)))
            elif word == "ignore-stop":
                signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            elif word == "ignore-term":
                signal.signal(signal.SIGUSR2, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            elif word == "grandchildren":
                for _ in range(int(words.pop(0))):
                    self.fork()
            elif word == "report":
                self.report(words.pop(0))
            elif word == "sleep":
                time.sleep(float(words.pop(0)))
            else:
                sys.exit(f"rogue: unknown word {word!r}\n\n{__doc__}")
        if self.ack_at_end:
            self.send_ack(os.getpid())
        wait()

    def fork(self):
        pid = os.fork()
        if pid == 0:
            signal.alarm(LIFETIME_SECS)  # a timer is not inherited
            wait()
        self.grandchildren.append(pid)

    def report(self, path):
        """Writes the file in one go, so that whoever sees it sees all of it."""
        told = {
            "argv": sys.argv,
            "environ": environment(),
            "fds": descriptors(),
            "signals": self.signals,
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "pgid": os.getpgid(0),
            "sid": os.getsid(0),
            "stdin": os.readlink("/proc/self/fd/0"),
            "cwd": os.readlink("/proc/self/cwd"),
            "umask": int(status_lines("Umask")["Umask"], 8),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "grandchildren": self.grandchildren,
        }
        partial = f"{path}.{os.getpid()}"
        with open(partial, "w") as file:
            json.dump(told, file, indent=1)
        os.rename(partial, path)


def status_lines(prefix):
    with open("/proc/self/status") as file:
        return fields(line for line in file if line.startswith(prefix))


def fields(lines):
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}


def environment():
    """As it was at exec: Python itself may add to os.environ."""
    with open("/proc/self/environ", "rb") as file:
        pairs = (pair.partition(b"=") for pair in file.read().split(b"\0") if pair)
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def descriptors():
    """Every open descriptor by number (as JSON has it: as text)."""
    told = {}
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            told[str(number)] = descriptor(number)
        except OSError:
            pass  # the one that listed the directory
    return told


def descriptor(fd):
    status = fcntl.fcntl(fd, fcntl.F_GETFL)
    told = {
        "link": os.readlink(f"/proc/self/fd/{fd}"),
        "nonblock": bool(status & os.O_NONBLOCK),
        "cloexec": bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC),
    }
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        it = socket.socket(fileno=fd)
        try:
            told["family"] = it.family.name
            told["acceptconn"] = bool(it.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            told["reuseaddr"] = bool(it.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
            if it.family == socket.AF_INET6:
                told["v6only"] = bool(it.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
            name = it.getsockname()
            told["sockname"] = os.fsdecode(name) if isinstance(name, bytes) else name
        finally:
            it.detach()
    return told


def signal_number(word):
    return int(word) if word.isdigit() else getattr(signal, "SIG" + word.upper().replace("SIG", "", 1))


def leave(code):
    sys.stderr.flush()
    os._exit(code)


def die_by(number):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    wait()


def wait():
    while True:
        signal.pause()


def main():
    # Before anything below changes them. The shell has none caught, and looks through another process.
    signals = {"source": "python", **status_lines("Sig")}
    if sys.argv[1:2] == ["--inherited"]:
        signals = {"source": "sh", **fields(sys.argv[2].splitlines())}
        del sys.argv[1:3]
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # what Python has changed
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(LIFETIME_SECS)
    Rogue(signals).run(sys.argv[1:])


if __name__ == "__main__":
    main()
