"""Address spaces, page by page: who has which frame mapped where, and what the kernel does on faults.

Every mapped page has an `Area` (what a mapping's flags say of it) and perhaps an entry in the page table: a `Frame`,
the kernel's zero page, or the zero page that KSM put there. Nothing is a range here and nothing is counted ahead.
"""

from ksmbench.designs.ksm.features import Features
from ksmbench.trace.schema import HUGE_PAGES, Mapping

PLAIN_ZERO = "zero page"
KSM_ZERO = "zero page put by KSM"


class Folio:
    """A huge frame: the small frames that it consists of."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def mms(self) -> "set[Mm]":
        """Who maps any part of it."""
        return {mm for frame in self.frames for mm, _ in frame.mappings}


class Frame:
    """An anonymous frame: its content, and every page-table entry (mm, page) that maps it."""

    def __init__(self, content: int, numa: int = 0) -> None:
        self.content = content
        self.numa = numa
        self.mappings: set[tuple[Mm, int]] = set()
        self.ksm = False
        self.node = None  # the stable node of a KSM frame
        self.folio: Folio | None = None


class Area:
    """What the mapping that a page lies in says."""

    def __init__(self, kind: int, mergeable: bool) -> None:
        self.kind = kind
        self.mergeable = mergeable
        self.dontfork = False
        self.wipeonfork = False

    def copy(self) -> "Area":
        """The same flags, for a page of another space."""
        area = Area(self.kind, self.mergeable)
        area.dontfork, area.wipeonfork = self.dontfork, self.wipeonfork
        return area

    @property
    def eligible(self) -> bool:
        """Whether KSM may ever merge here."""
        return self.kind != Mapping.NEVER


class Mm:
    """An address space."""

    def __init__(self, space: int) -> None:
        self.space = space
        self.number = space  # a program that replaces another gets one behind those of the spaces
        self.alive = True
        self.areas: dict[int, Area] = {}
        self.table: dict[int, Frame | str] = {}
        self.merge_any = False
        self.zero_pages = 0
        self.merging_pages = 0
        self.rmap_items = 0
        self.slot = None  # KSM's, while registered

    def mergeable(self, page: int) -> bool:
        """Whether the page lies in a mergeable mapping."""
        return page in self.areas and self.areas[page].mergeable

    def frame(self, page: int) -> Frame | None:
        """The anonymous frame mapped at the page."""
        entry = self.table.get(page)
        return entry if isinstance(entry, Frame) else None


class Memory:
    """All living address spaces, and the two counters that faults move."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self.mms: dict[int, Mm] = {}  # space -> its living mm
        self.cow_breaks = 0
        self.ksm_zero_pages = 0

    def set_frame(self, mm: Mm, page: int, frame: Frame) -> None:
        """Map the frame there, in place of what is there."""
        self.drop(mm, page)
        mm.table[page] = frame
        frame.mappings.add((mm, page))

    def set_zero(self, mm: Mm, page: int, zero: str) -> None:
        """Map a zero page there, in place of what is there."""
        self.drop(mm, page)
        mm.table[page] = zero
        if zero == KSM_ZERO:
            mm.zero_pages += 1
            self.ksm_zero_pages += 1

    def put_zero(self, mm: Mm, page: int) -> None:
        """KSM maps the zero page there; before 6.6 nothing tells it from others."""
        self.set_zero(mm, page, KSM_ZERO if self.features.zero_pages_counted else PLAIN_ZERO)

    def drop(self, mm: Mm, page: int) -> None:
        """The page becomes absent."""
        entry = mm.table.pop(page, None)
        if isinstance(entry, Frame):
            entry.mappings.remove((mm, page))
        elif entry == KSM_ZERO:
            mm.zero_pages -= 1
            self.ksm_zero_pages -= 1

    def write(self, mm: Mm, page: int, content: int | None, numa: int) -> None:
        """A write fault; None writes the bytes that are there already. A new frame is on NUMA node `numa`."""
        if page not in mm.areas or not mm.areas[page].eligible:
            return
        frame = mm.frame(page)
        if frame is None:
            self.set_frame(mm, page, Frame(content or 0, numa))
            return
        if content is None:
            content = frame.content
        alone = len(frame.mappings) == 1
        if frame.ksm and self.features.reuses_in_place and alone and frame.node is not None:
            frame.ksm, frame.node = False, None
            frame.content = content
        elif frame.ksm:
            self.cow_breaks += 1
            self.set_frame(mm, page, Frame(content, numa))
        elif not alone or (frame.folio and frame.folio.mms() != {mm}):
            self.set_frame(mm, page, Frame(content, numa))
        else:
            frame.content = content

    def read(self, mm: Mm, page: int) -> None:
        """A read fault."""
        if page in mm.areas and mm.areas[page].kind == Mapping.ANONYMOUS and page not in mm.table:
            mm.table[page] = PLAIN_ZERO

    def unshare(self, mm: Mm, page: int) -> None:
        """Give the page a private frame, on NUMA node 0, if something of KSM is mapped there."""
        entry = mm.table.get(page)
        if isinstance(entry, Frame) and entry.ksm:
            self.cow_breaks += 1
            self.set_frame(mm, page, Frame(entry.content))
        elif entry == KSM_ZERO:
            self.set_frame(mm, page, Frame(0))

    def unmap(self, mm: Mm, page: int) -> None:
        """The page is in no mapping any more."""
        self.drop(mm, page)
        mm.areas.pop(page, None)

    def back_huge(self, mm: Mm, first: int, numa: int) -> None:
        """The block of 2 MiB gets a huge frame with the contents that it holds; small ones where there are no huge."""
        folio = Folio()
        for page in range(first, first + HUGE_PAGES):
            self.unshare(mm, page)
            old = mm.frame(page)
            frame = Frame(old.content if old else 0, numa)
            if self.features.huge:
                frame.folio = folio
                folio.frames.append(frame)
            self.set_frame(mm, page, frame)

    def split(self, folio: Folio) -> None:
        """Split a huge frame: its zero-filled parts give way to the zero page."""
        for frame in folio.frames:
            frame.folio = None
            if frame.content == 0 and self.features.split_maps_zero:
                for mm, page in list(frame.mappings):
                    self.set_zero(mm, page, PLAIN_ZERO)
        folio.frames = []

    def entries(self) -> list[tuple[Mm, int, Frame]]:
        """Every page-table entry that maps an anonymous frame."""
        return [
            (mm, page, entry)
            for mm in self.mms.values()
            for page, entry in mm.table.items()
            if isinstance(entry, Frame)
        ]

    def counters(self) -> dict[str, int]:
        """The truth that no kernel prints, counted afresh."""
        frames = [frame for _, _, frame in self.entries()]
        return {
            "pages_anon": len(frames),
            "frames": len(set(frames)),
            "frames_ksm": len({frame for frame in frames if frame.ksm}),
            "cow_breaks": self.cow_breaks,
        }
