"""Runs replays on an executor: what ends comes out at once, what loses its worker is tried again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from queue import Empty, SimpleQueue

from ksmbench.errors import KsmbenchError
from ksmbench.sweeping.point import Outcome, Point, replay_point

TRIES = 3  # a replay may lose its worker twice
LOOK_S = 2.0  # between looks whether anything can still end
HOPELESS = 8  # failures before the first replay that ends


def run_points(
    executor: Executor, points: Sequence[Point], lost: dict[Point, str]
) -> Iterator[tuple[Point, Outcome | KsmbenchError]]:
    """Each of `points` with what it gave, as they end; those that failed TRIES times go into `lost` with the reason.

    Raises `KsmbenchError` where the executor takes no more work, and where nothing ends but by failures.
    """
    ended: SimpleQueue[Future[Outcome | KsmbenchError]] = SimpleQueue()
    running: dict[Future[Outcome | KsmbenchError], Point] = {}
    failures: Counter[Point] = Counter()

    def start(point: Point) -> None:
        try:
            future = executor.submit(replay_point, point)
        except (BrokenExecutor, RuntimeError) as error:
            raise KsmbenchError(f"the workers take no more replays ({_text(error)})") from None
        running[future] = point
        future.add_done_callback(ended.put)

    for point in points:
        start(point)
    any_ended = False
    while running:
        try:
            future = ended.get(timeout=LOOK_S)
        except Empty:
            why = getattr(executor, "lost", None)  # an executor may know that nothing ends any more
            if why is not None:
                raise KsmbenchError(f"the workers end no more replays ({why})") from None
            continue
        point = running.pop(future)
        try:
            outcome = future.result()
        except Exception as error:  # of any kind: a worker that is gone looks different on every executor
            failures[point] += 1
            if not any_ended and failures.total() >= HOPELESS:
                for waiting in running:
                    waiting.cancel()
                raise KsmbenchError(
                    f"no replay ends, as {point.task.spec} on {point.task.label}: {_text(error)}"
                ) from None
            if failures[point] < TRIES:
                start(point)
            else:
                lost[point] = _text(error)
            continue
        any_ended = True
        yield point, outcome


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "..."
