"""The page table of another process, however it is cut up."""

from ksmbench.capture.pagemap import PRESENT, ZERO, PageMap
from tests.capture.child import Child, needs_root

pytestmark = needs_root


def test_more_regions_than_one_call_tells_are_seen_once() -> None:
    n = 1 << 16  # every page a region of its own: four calls of PAGEMAP_SCAN
    with Child() as child:
        child.do(f"a = area({n}, mmap.MADV_NOHUGEPAGE)")
        child.do(f"for i in range(0, {n}, 2): a[i * PAGE]; a[(i + 1) * PAGE] = 1")
        first = int(child.do("answer = where(a)"))
        pagemap = PageMap(child.pid)
        pages = pagemap.look(first, first + n)
        pagemap.has_scan = False
        alike = pagemap.look(first, first + n)
        pagemap.close()
    assert pages.page.tolist() == list(range(first, first + n))
    assert pages.state.tolist() == [ZERO, PRESENT] * (n // 2)
    assert pages.pfn.tolist() == alike.pfn.tolist()
