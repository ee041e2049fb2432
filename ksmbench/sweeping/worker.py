"""A process of `ksmbench.sweeping.executors.Workers`: reads calls from its input, writes what they return."""

import os
import pickle
import sys


def main() -> None:
    """Answer until the input ends, as it does when the program that started it does."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the replies
    while True:
        try:
            call = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            function, args, kwargs = pickle.loads(call)
            reply = True, function(*args, **kwargs)
        except Exception as error:  # told to whoever waits: here nobody can do anything about it
            reply = False, f"{type(error).__name__}: {error}"
        pickle.dump(reply, replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):  # nobody waits any more
        os._exit(1)
