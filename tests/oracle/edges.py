"""The worked edges of the method, each as records in a little unit of its own, with the expected outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from tests.oracle.book import AT_ONCE, Book, department_id, t
from tests.oracle.scorer import Dossier, Participant


def worked_edges() -> Book:
    """All edges in one book (three batches)."""
    book = Book()
    for write in (
        edge_1_precision,
        edge_2_days_and_period_ends,
        edge_3_days_off,
        edge_4_working_days_late,
        edge_5_no_due_date,
        edge_6_due_date_moved,
        edge_7_district_handover,
        edge_8_policy_start_and_short_window,
        edge_9_inherited_and_receiving_only,
        edge_10_returns,
        edge_11_ratings,
        edge_12_petitions,
        edge_12_petitions_sent_again,
        edge_13_posting,
        edge_14_bounds,
        edge_15_k_equal_near_and_ranks,
        edge_16_four_ratings,
        edge_17_quarter_and_late_record,
        further_edges,
        interlinked_dossiers,
    ):
        write(book)
    return book


def edge_1_precision(book: Book) -> None:
    for name, due, result, on_time in (
        ("E1A", "20261009000000", "20261009153000", 1),
        ("E1B", "20261009170000", "20261009170000", 1),
        ("E1C", "20261009170000", "20261009170001", 0),
        ("E1D", "20261009", "20261009235959", 1),
        ("E1E", "20261009170000", "20261009", 1),
        ("E1F", "20261009", "20261012000000", 0),
    ):
        unit = book.unit(name)
        book.dossier(unit, "20261001080000", due, result)
        book.dossiers_expect("1", unit, "A", on_time, 1)


def edge_2_days_and_period_ends(book: Book) -> None:
    unit = book.unit("E2A")
    book.dossier(unit, "20261009090000", "20261009170000", "20261009000000")
    book.dossiers_expect("2", unit, "A", 1, 1)
    unit = book.unit("E2B")
    book.dossier(unit, "20261009090000", "20261020170000", "20261014235959")
    book.dossiers_expect("2", unit, "A", 1, 1, "2026-10")
    book.dossiers_expect("2", unit, "A", 0, 0, "2026-11")
    unit = book.unit("E2C")
    book.dossier(unit, "20261009090000", "20261020170000", "20261015000000")
    book.dossiers_expect("2", unit, "A", 0, 0, "2026-10")
    book.dossiers_expect("2", unit, "A", 1, 1, "2026-11")
    unit = book.unit("E2D")
    book.dossier(unit, "20261009090000", "20261020170000", "20261009085959")
    book.dossiers_expect("2", unit, "A", 0, 0, excluded=1)
    book.dossiers_expect("2", unit, "B", 0, 0, excluded=1)


def edge_3_days_off(book: Book) -> None:
    for name, due, result, on_time, period in (
        ("E3A", "20261004100000", "20261005235959", 1, "2026-10"),  # Sunday → end of Monday
        ("E3B", "20261004100000", "20261006000001", 0, "2026-10"),
        ("E3C", "20260216170000", "20260223235959", 1, "2026-03"),  # Tết 2026 → Monday 23 February
        ("E3D", "20260216170000", "20260224080000", 0, "2026-03"),
        ("E3E", "20260110170000", "20260110170000", 1, "2026-01"),  # make-up Saturday, worked
        ("E3F", "20260110170000", "20260110170001", 0, "2026-01"),
        ("E3G", "20260110", "20260112080000", 0, "2026-01"),
        ("E3H", "20260102170000", "20260105230000", 1, "2026-01"),  # off, so end of Monday 5 January
        ("E3I", "20260102", "20260106000000", 0, "2026-01"),
    ):
        unit = book.unit(name)
        book.dossier(unit, "20251220080000", due, result)
        book.dossiers_expect("3", unit, "A", on_time, 1, period)


def edge_4_working_days_late(book: Book) -> None:
    """The points are 0 either way by default; `a_point_within_grace` = 0.5 tells them apart (a unit test does)."""
    unit = book.unit("E4A")
    book.dossier(unit, "20260915080000", "20261002170000", "20261009170100")
    book.dossiers_expect("4", unit, "A", 0, 1)
    unit = book.unit("E4B")
    book.dossier(unit, "20260915080000", "20261002170000", "20261012080000")
    book.dossiers_expect("4", unit, "A", 0, 1)


def edge_5_no_due_date(book: Book) -> None:
    for name, received, result, procedure, counts in (
        ("E5A", "20261007145900", "20261007160000", AT_ONCE, (1, 1, 0)),
        ("E5B", "20261007150000", "20261008235959", AT_ONCE, (1, 1, 0)),
        ("E5C", "20261007150000", "20261009080000", AT_ONCE, (0, 1, 0)),
        ("E5D", "20261007145959", "20261008080000", AT_ONCE, (0, 1, 0)),
        ("E5E", "20261002160000", "20261005170000", AT_ONCE, (1, 1, 0)),  # Friday afternoon → Monday
        ("E5F", "20261003090000", "20261005170000", AT_ONCE, (1, 1, 0)),  # Saturday, rolled to Monday
        ("E5G", "20261007", "20261008080000", AT_ONCE, (0, 1, 0)),  # no time known: the same day
        ("E5H", "20261007150000", "20261008080000", "1.000001", (0, 0, 1)),
        ("E5I", "20261007150000", "20261008080000", "9.999999", (0, 0, 1)),  # not in the register
        ("E5J", None, "20261008080000", AT_ONCE, (0, 0, 1)),
        ("E5K", "20261002080000", "20261007170000", "2.000003.000.00.00.H29", (1, 1, 0)),
        ("E5L", "20261002080000", "20261008000000", "2.000003.000.00.00.H29", (0, 1, 0)),
        ("E5M", "20261002080000", "20261002170000", "2.000000", (1, 1, 0)),
        ("E5N", "20261002080000", "20261005080000", "2.000000", (0, 1, 0)),
    ):
        unit = book.unit(name)
        book.dossier(unit, received, None, result, procedure=procedure)
        book.dossiers_expect("5", unit, "A", counts[0], counts[1], excluded=counts[2])
        book.dossiers_expect("5", unit, "B", 1, 1)


def edge_6_due_date_moved(book: Book) -> None:
    unit = book.unit("E6A")  # extension after an apology
    dossier = book.dossier(unit, "20261001080000", "20261009170000", None, status="4")
    moved = book.again(dossier, 1, due_at=t("20261016170000"))
    book.again(moved, 2, status_code="10", finished_at=t("20261012090000"))
    book.dossiers_expect("6", unit, "A", 0, 1)
    unit = book.unit("E6B")  # moved by a supplement received in full
    asked = book.supplement("20261005090000", "2", "20261007090000", "20261009170000", "20261013170000")
    book.dossier(unit, "20261001080000", "20261013170000", "20261012090000", supplements=(asked,))
    book.dossiers_expect("6", unit, "A", 1, 1)
    unit = book.unit("E6C")  # supplement never received, then stopped
    asked = book.supplement("20261005090000", "1", None, "20261009170000", None)
    book.dossier(unit, "20261001080000", "20261030170000", "20261012090000", status="8", supplements=(asked,))
    book.dossiers_expect("6", unit, "A", 0, 1)
    unit = book.unit("E6D")  # received in part: the old due date stays
    asked = book.supplement("20261005090000", "3", "20261007090000", "20261009170000", "20261013170000")
    book.dossier(unit, "20261001080000", "20261013170000", "20261012090000", supplements=(asked,))
    book.dossiers_expect("6", unit, "A", 0, 1)
    unit = book.unit("E6E")  # in full, then extended: the supplement's date holds
    asked = book.supplement("20261005090000", "2", "20261007090000", "20261008170000", "20261009170000")
    dossier = book.dossier(unit, "20261001080000", "20261009170000", None, supplements=(asked,))
    book.again(dossier, 1, due_at=t("20261020170000"), status_code="9", finished_at=t("20261012090000"))
    book.dossiers_expect("6", unit, "A", 0, 1)


def edge_7_district_handover(book: Book) -> None:
    district = book.unit("E7D", "2020-01-01", "2025-07-01", unit_kind="district", peer_group="xa_phuong_dac_khu")
    successor = book.unit("E7X", "2025-07-01", unit_kind="ward", peer_group="xa_phuong_dac_khu")
    book.dossier(district, "20250620080000", "20250630", "20250630235959")
    book.dossier(successor, "20250620080000", "20250702", "20250701000001")
    book.dossier(district, "20250620080000", "20250702", "20250701000001")  # the old code, after its end: nobody's row
    book.perfect(district, "2025-07", skip="ABCE")
    book.rating(district, "20250630120000")
    for place in ("desk", "website"):
        book.check(district, place, "2025-06-20")
    book.dossiers_expect("7", district, "A", 1, 1, "2025-07")
    book.dossiers_expect("7", successor, "A", 1, 1, "2025-07")
    book.k(
        "7", district, "2025-07",
        window_start=date(2025, 6, 15), window_end=date(2025, 7, 1), window_clipped="unit_ended",
        status="scored", k=Decimal("22.000000"), verdict="satisfied", rank_in_group=None,
    )  # fmt: skip
    book.k("7", successor, "2025-07", window_clipped="unit_started", window_start=date(2025, 7, 1))


def edge_8_policy_start_and_short_window(book: Book) -> None:
    unit = book.unit("E8A")
    for result in ("20241105090000", "20241128235959", "20241129000000", "20241214235959"):
        book.dossier(unit, "20241101080000", "20241220170000", result)
    book.perfect(unit, "2024-12", skip="A")
    book.perfect(unit, "2024-11", skip="A")
    book.dossiers_expect("8", unit, "A", 2, 2, "2024-12")
    book.dossiers_expect("8", unit, "A", 2, 2, "2024")
    for index in "ABCDE":
        book.index("8", unit, index, "2024-11", status="before_rule", value=None)
    book.k("8", unit, "2024-11", status="before_rule", k=None, verdict=None)
    for period in ("2024-12", "2024-Q4", "2024"):
        book.k(
            "8", unit, period,
            window_start=date(2024, 11, 29), window_end=date(2024, 12, 15), window_clipped="policy_started",
            rank_in_group=None,
        )  # fmt: skip
    book.k("8", unit, "2024-12", k=Decimal("22.000000"), verdict="satisfied")
    short = book.unit("E8B", "2026-09-20", "2026-09-29")
    exact = book.unit("E8C", "2026-09-20", "2026-09-30")
    for unit in (short, exact):
        book.dossier(unit, "20260921080000", "20260925170000", "20260924090000")
    for index in "ABCDE":
        book.index("8", short, index, status="not_applicable", status_reason="window_too_short", value=None)
    book.k(
        "8", short, status="not_applicable", status_reason="window_too_short",
        window_clipped="unit_started;unit_ended", window_start=date(2026, 9, 20), window_end=date(2026, 9, 29),
    )  # fmt: skip
    book.dossiers_expect("8", exact, "A", 1, 1)
    early = book.unit("E8D", "2020-01-01", "2024-12-09")  # ten days left after the policy's start
    book.dossier(early, "20241120080000", "20241205170000", "20241208235959")
    book.dossier(early, "20241120080000", "20241205170000", "20241209000000")
    book.dossiers_expect("8", early, "A", 0, 1, "2024-12")
    book.k("8", early, "2024-12", window_clipped="unit_ended;policy_started")
    gone = book.unit("E8E", "2020-01-01", "2024-11-20")  # gone before the policy began
    book.dossier(gone, "20241101080000", "20241205170000", "20241118090000")
    book.index("8", gone, "A", "2024-12", status="before_rule", value=None)


def edge_9_inherited_and_receiving_only(book: Book) -> None:
    unit = book.unit("E9A", "2025-07-01")
    book.dossier(unit, "20250601080000", "20250625170000", "20250703090000")
    book.dossiers_expect("9", unit, "A", 0, 1, "2025-07")
    centre = book.unit(
        "E9C", unit_kind="service_centre", peer_group="trung_tam", is_receiving_only=True, posting_places="desk"
    )
    book.perfect(centre)
    for index in "ABD":
        book.index("9", centre, index, status="not_applicable", status_reason="receiving_only", value=None)
    book.index("9", centre, "C", status="scored", value=Decimal(1))
    book.index("9", centre, "E", status="scored", value=Decimal(1), numerator=Decimal(1), denominator=Decimal(1))
    book.k("9", centre, status="not_applicable", status_reason="receiving_only", k=None, verdict=None)
    branch = book.unit("E9S", parent_unit_code="HCM.E1A")
    book.perfect(branch)
    for index in "DE":
        book.index("9", branch, index, status="not_applicable", status_reason="sub_unit", value=None)
    for index in "ABC":
        book.index("9", branch, index, status="scored", value=Decimal(1))
    book.k("9", branch, status="not_applicable", status_reason="sub_unit", k=None)


def edge_10_returns(book: Book) -> None:
    unit = book.unit("E10A")
    twice = (book.supplement("20260511090000"), book.supplement("20260713090000"))
    book.dossier(unit, "20260504080000", "20260810170000", "20260805090000", supplements=twice)
    for period in ("2026-05", "2026-06", "2026-07"):
        book.dossiers_expect("10", unit, "B", 0, 0, period)
    book.dossiers_expect("10", unit, "B", 0, 1, "2026-08")
    same = book.number("supplement")
    for name, asked, status, point in (
        ("E10B", (book.supplement("20261002090000", "5"), book.supplement("20261005090000", "2")), "10", 1),
        ("E10C", tuple(book.supplement(f"2026100{day}090000", supplement_id=f"BSX{same}") for day in (2, 5)), "10", 1),
        ("E10D", (book.supplement("20261002090000"), book.supplement("20261005090000")), "8", 0),
        ("E10E", (book.supplement("20261002090000", "4"), book.supplement("20261005090000", "3")), "9", 1),
        ("E10F", (book.supplement("20261002090000"), book.supplement("20261008150001")), "9", 1),
        ("E10G", (book.supplement("20261002090000"), book.supplement("20261008")), "9", 0),
        ("E10H", (book.supplement("20261001075959"), book.supplement("20261005090000")), "9", 1),
        ("E10I", (book.supplement("20261001080000"), book.supplement("20261008150000")), "9", 0),
        ("E10J", (book.supplement(None), book.supplement("20261005090000")), "9", 1),
        ("E10K", tuple(book.supplement(f"2026100{day}090000") for day in (2, 5, 6)), "9", 0),
    ):  # fmt: skip
        unit = book.unit(name)
        book.dossier(unit, "20261001080000", "20261020170000", "20261008150000", status=status, supplements=asked)
        book.dossiers_expect("10", unit, "B", point, 1)


def edge_11_ratings(book: Book) -> None:
    unit = book.unit("E11A")
    rating = book.rating(unit, "20261005090000")
    book.world.batches[0].ratings.append(rating)  # twice in one file
    book.world.batches[1].ratings.append(rating)  # and again in the next
    book.dossiers_expect("11", unit, "C", 1, 1)
    unit = book.unit("E11B")
    dossier = book.dossier(unit, "20261001080000", "20261020170000", "20261005090000")
    book.rating(unit, "20261005090000", "KHÔNG HÀI LÒNG", dossier=dossier)
    book.rating(unit, "20261005100000", dossier=dossier)
    book.dossiers_expect("11", unit, "C", 1, 2)
    unit = book.unit("E11C")
    book.rating(unit, "20261005090000", "KHÔNG HÀI LÒNG", question="CHUNG")
    book.index("11", unit, "C", status="no_data", status_reason="no_rating", value=None)
    unit = book.unit("E11D")  # a source that tells no questions apart
    book.rating(unit, "20261005090000", "RẤT HÀI LÒNG", question=None)
    book.dossiers_expect("11", unit, "C", 1, 1)
    receiver, resolver, device = book.unit("E11R"), book.unit("E11S"), book.unit("E11T")
    dossier = book.dossier(resolver, "20261001080000", "20261020170000", "20261005090000", receiving=receiver)
    book.rating(None, "20261005090000", dossier=dossier, channel="KIOSK", device_of=device)
    book.rating(None, "20261005090001", dossier=dossier, channel="QUAY", level="KHÔNG HÀI LÒNG")
    book.rating(None, "20261005090002", dossier=dossier, channel="WEB", device_of=device)
    book.rating(None, "20261005090003", channel="KIOSK", device_of=device)
    book.rating(None, "20261005090004", dossier_code="H29.UNKNOWN-1", channel="KIOSK", device_of=device)
    book.rating(None, "20261005090005", channel="WEB", device_of=device)  # nobody's
    book.rating(None, "20261005090006", dossier_code="H29.UNKNOWN-1", channel="HTTP")  # nobody's
    book.dossiers_expect("11", receiver, "C", 1, 2)
    book.dossiers_expect("11", resolver, "C", 1, 1)
    book.dossiers_expect("11", device, "C", 2, 2)
    unit = book.unit("E11E")  # changed between two files: the later level counts
    rating = book.rating(unit, "20261014235959", "KHÔNG HÀI LÒNG")
    book.world.batches[2].ratings.append(replace(rating, level_code="HÀI LÒNG"))
    book.rating(unit, "20261015000000", "KHÔNG HÀI LÒNG")
    book.dossiers_expect("11", unit, "C", 1, 1)


def edge_12_petitions(book: Book) -> None:
    for n, total, k, verdict in (
        (5, "15.60", "19.600000", "not_satisfied"),
        (6, "16", "20.000000", "undetermined"),
        (7, "16.285714", "20.285714", "satisfied"),
        (11, "16.909091", "20.909091", "satisfied"),
        (12, "17", "21.000000", "satisfied"),
    ):
        unit = book.unit(f"E12N{n}")
        book.perfect(unit, skip="D")
        book.portal(unit, "2026-10", total, (n - 1, n - 1, n))
        book.petitions(unit, n - 1, 1)
        book.k("12", unit, k=Decimal(k), verdict=verdict, small_sample=n < 12, no_petitions=False)
    unit = book.unit("E12Z")
    book.perfect(unit, skip="D")
    book.portal(unit, "2026-10", "12", dossiers=(0, 0))
    book.index("12", unit, "D", status="scored", value=Decimal(12))
    book.k("12", unit, k=Decimal("16.000000"), verdict="not_satisfied", no_petitions=True, small_sample=False)
    unit = book.unit("E12M")
    book.perfect(unit, skip="D")
    book.index("12", unit, "D", status="no_data", status_reason="no_portal_row", value=None)
    book.k("12", unit, status="incomplete", status_reason="D:no_data", verdict_bound="open", a=Decimal(1))
    unit = book.unit("E12Q")
    book.perfect(unit, skip="D")
    book.portal(unit, "2026-10", None, (1, 1, 2))
    book.index("12", unit, "D", status="blocked_by_quality", status_reason="portal_score_missing", value=None)
    book.k("12", unit, status="incomplete", status_reason="D:blocked_by_quality")
    unit = book.unit("E12P")
    book.perfect(unit, skip="D")
    book.portal(unit, "2026-10", None, (0, 0, 0))
    book.index("12", unit, "D", status="no_data", status_reason="portal_score_missing", value=None)
    unit = book.unit("E12R")  # asked again: the later answer counts; another window is not ours
    book.perfect(unit, skip="D")
    book.portal(unit, "2026-10", "9.10", (1, 1, 4))
    book.portal(unit, "2026-10", "9.35", (1, 1, 4), batch=1)
    book.portal(unit, "2026-10", "1.00", window=(date(2026, 10, 1), date(2026, 10, 31)), batch=2)
    book.index("12", unit, "D", status="scored", value=Decimal("9.35"))


# D and K of these units where each petition sent again is a new one (`d_definition` = recomputed_104); by default all have 18.
SENT_AGAIN = {
    "E12S0": ("18.000000", "22.000000"),
    "E12S1": ("16.285714", "20.285714"),  # 12 x 6/7 + 6
    "E12S3": ("14.000000", "18.000000"),  # 12 x 6/9 + 6
    "E12SB": ("14.571429", "18.571429"),  # 12 x 5/7 + 6: the one that was bad, sent again
    "E12SN": ("18.000000", "22.000000"),
    "E12SD": ("18.000000", "22.000000"),
    "E12SO": ("6.000000", "10.000000"),
    "E12SP": ("18.000000", "22.000000"),
    "E12SW": ("18.000000", "22.000000"),
    "E12SU": ("18.000000", "22.000000"),
    "E12SV": ("6.000000", "10.000000"),
    "E12SX": ("18.000000", "22.000000"),
    "E12ST": ("12.000000", "16.000000"),
}


def edge_12_petitions_sent_again(book: Book) -> None:
    units = {name: book.unit(name) for name in SENT_AGAIN}
    for unit in units.values():
        book.perfect(unit, skip="D")
        book.portal(unit, "2026-10", "18", retrieved="20261016100000")
        book.k("12", unit, k=Decimal("22.000000"), d=Decimal(18))
    for name, again in (("E12S0", 0), ("E12S1", 1), ("E12S3", 3)):
        book.petitions(units[name], 5, 0)
        book.petition(units[name], resent=again)
    book.petitions(units["E12SB"], 5, 0)
    book.petition(units["E12SB"], answered="20261009170001", satisfied=False, resent=1)
    book.petitions(units["E12SN"], 1, 0)  # a refused one counts nowhere, sent again or not
    book.petition(units["E12SN"], answered=None, refused="20261002090000", satisfied=None, resent=5)
    book.petitions(units["E12SD"], 1, 0)  # nor one that was not yet due when the portal was asked
    book.petition(units["E12SD"], due="20261016100000", answered=None, satisfied=None, resent=2)
    book.petition(units["E12SO"], due="20261016095959", answered="20261016100001")
    book.petition(units["E12SP"], due="20261009", answered="20261009235959")  # by the day where one of the two is a day
    book.petition(units["E12SP"], due="20261009000000", answered="20261009160000")
    book.petition(units["E12SP"], answered="20261009")
    book.petition(units["E12SP"], due="20261004100000", answered="20261005235959")  # due on a Sunday
    for received in ("20260914235959", "20261015000000"):  # another window's
        book.petition(
            units["E12SW"], received=received, due="20261015170000", answered="20261015170001", satisfied=False
        )
    for received in ("20260915000000", "20261014235959"):
        book.petition(units["E12SW"], received=received, due="20261015170000", answered="20261015170000")
    moved = book.petition(units["E12SU"], answered="20261009170001", satisfied=False)
    again = replace(moved, department_id=department_id(units["E12SV"]))
    book.world.batches[1].petitions.append(again)
    # Without a due date the term of 15 working days stands in: kept to the second, and missed by a day.
    book.petition(units["E12ST"], received="20260915235959", due=None, answered="20261006235959", satisfied=None)
    book.petition(units["E12ST"], received="20260915235959", due=None, answered="20261007")
    unread = book.unit("E12SY")  # petitions were not read from the first day of this window
    book.perfect(unread, "2024-12")
    book.index("12", unread, "D", "2024-12", status="scored", value=Decimal(18))


def edge_13_posting(book: Book) -> None:
    last_day = date(2026, 10, 14)
    for name, checks, status, value in (
        ("E13A", [("desk", 11, False), ("desk", 2, True), ("website", 2, True)], "scored", Decimal(1)),
        ("E13B", [("desk", 2, True)], "awaiting_input", None),
        ("E13C", [("desk", 2, False)], "awaiting_input", None),
        ("E13D", [("desk", 100, True), ("website", 100, True)], "scored", Decimal(1)),
        ("E13E", [("desk", 101, True), ("website", 100, True)], "awaiting_input", None),
        ("E13F", [("desk", 0, True), ("website", 0, True), ("website", -1, False)], "scored", Decimal(1)),
        ("E13G", [("desk", 1, True), ("website", 3, True), ("website", 3, False)], "scored", Decimal(0)),
        ("E13H", [("desk", 1, False), ("website", 3, True)], "scored", Decimal(0)),
        ("E13I", [("desk", 1, True), ("desk", 5, False), ("website", 101, True), ("website", -1, True)],
         "awaiting_input", None),
    ):  # fmt: skip
        unit = book.unit(name)
        for place, age, passes in checks:
            book.check(unit, place, date.fromordinal(last_day.toordinal() - age).isoformat(), passes)
        book.index("13", unit, "E", status=status, value=value)
    book.index("13", "HCM.E13B", "E", status_reason="posting_unchecked:website")
    unit = book.unit("E13N", posting_places=None)
    book.perfect(unit)
    book.index("13", unit, "E", status="not_applicable", status_reason="no_posting_place")
    book.k("13", unit, status="incomplete", status_reason="E:not_applicable", verdict_bound="satisfied_whatever")
    unit = book.unit("E13W", posting_places="website")
    book.check(unit, "desk", "2026-10-10", False)
    book.check(unit, "website", "2026-10-10")
    book.index("13", unit, "E", status="scored", value=Decimal(1), denominator=Decimal(1))


def edge_14_bounds(book: Book) -> None:
    for name, total, bound in (
        ("E14A", "17.000001", "satisfied_whatever"),
        ("E14B", "17", "open"),
        ("E14C", "16", "open"),
        ("E14D", "15.999999", "not_satisfied_whatever"),
    ):
        unit = book.unit(name)
        book.perfect(unit, skip="C", total=total)
        book.k("14", unit, status="incomplete", status_reason="C:no_data", verdict_bound=bound, k=None, verdict=None)


def edge_15_k_equal_near_and_ranks(book: Book) -> None:
    third = Fraction(1, 3)
    unit = book.unit("E15A")
    book.quotients(unit, third, third, third)
    book.perfect(unit, skip="AC")
    book.k("15", unit, k=Decimal("20.000000"), verdict="undetermined", near_threshold=True)
    book.index("15", unit, "A", value=Decimal("0.333333333333333"))
    for name, total, k, near in (
        ("E15B", "16.004", "20.004000", True),
        ("E15C", "16.01", "20.010000", True),
        ("E15D", "16.010001", "20.010001", False),
        ("E15E", "15.99", "19.990000", True),
        ("E15F", "15.989999", "19.989999", False),
    ):
        unit = book.unit(name)
        book.perfect(unit, total=total)
        # With no petition at all, the first bad one takes 12 points.
        book.k("15", unit, k=Decimal(k), near_threshold=near, small_sample=Decimal(k) > 20, no_petitions=True)
    # Ranks in a group of their own: nobody else of this group has a K.
    for name, total, rank in (
        ("E15R1", "17.001", 1),
        ("E15R2", "17.0049", 1),
        ("E15R3", "17", 1),
        ("E15R4", "16.995", 1),  # 20.995 is shown as 21.00: half away from zero
        ("E15R5", "16.994999", 5),
    ):
        unit = book.unit(name, peer_group="trung_tam", unit_kind="service_centre")
        book.perfect(unit, "2026-10", total=total)
        book.k("15", unit, rank_in_group=rank)
    # Exactly half of the last shown digit, from quotients that do not end: 3 x 5/384 = 0.0390625.
    part = Fraction(5, 384)
    unit = book.unit("E15H")
    day = book.day_in("2026-10")
    for i in range(384):
        asked = tuple(book.supplement(f"{day}0900{j:02d}") for j in range(2 if i >= 5 else 0))
        due = f"{day}{'120000' if i >= 5 else '170000'}"
        book.dossier(unit, f"{day}080000", due, f"{day}150000", supplements=asked)
        book.rating(unit, f"{day}160000", "HÀI LÒNG" if Fraction(i, 384) < part else "KHÔNG HÀI LÒNG")
    book.perfect(unit, skip="AC")
    book.k("15", unit, k=Decimal("19.039063"), verdict="not_satisfied")


def edge_16_four_ratings(book: Book) -> None:
    """What the public sees is the publisher's business; the marts hold the value."""
    unit = book.unit("E16A")
    book.perfect(unit, skip="C", total="17.5")
    for minute in range(4):
        book.rating(unit, f"202610051000{minute:02d}", "HÀI LÒNG" if minute else "KHÔNG HÀI LÒNG")
    book.dossiers_expect("16", unit, "C", 3, 4)
    book.k("16", unit, k=Decimal("21.250000"), c=Decimal("0.75"))


def edge_17_quarter_and_late_record(book: Book) -> None:
    unit = book.unit("E17A")
    for day, late, on_time in (("20260707", 0, 1), ("20260806", 1, 2), ("20260907", 6, 0)):
        for i in range(late + on_time):
            due = f"{day}{'120000' if i < late else '170000'}"
            book.dossier(unit, f"{day}080000", due, f"{day}150000")
    book.dossiers_expect("17", unit, "A", 1, 1, "2026-07")
    book.dossiers_expect("17", unit, "A", 2, 3, "2026-08")
    book.dossiers_expect("17", unit, "A", 0, 6, "2026-09")
    book.dossiers_expect("17", unit, "A", 3, 10, "2026-Q3")  # not (1 + 2/3 + 0) / 3
    unit = book.unit("E17B")
    book.dossier(unit, "20260707080000", "20260707170000", "20260707150000")
    book.dossier(unit, "20260707080000", "20260707120000", "20260707150000", batch=2)  # a late record of month 1
    book.dossiers_expect("17", unit, "A", 1, 2, "2026-07")
    book.dossiers_expect("17", unit, "A", 1, 2, "2026-Q3")


def further_edges(book: Book) -> None:
    """Edges that the method's text implies: statuses, fall-backs, exclusions, corrections between batches."""
    unit = book.unit("F1")
    for status in ("1", "2", "3", "4", "5", "6", "7"):
        book.dossier(unit, "20261001080000", "20261020170000", "20261008150000", status=status)
    book.dossiers_expect("status", unit, "A", 0, 0)
    for status in ("8", "9", "10"):
        book.dossier(unit, "20261001080000", "20261120170000", "20261106150000", status=status)
    book.dossiers_expect("status", unit, "A", 3, 3, "2026-11")
    unit = book.unit("F2")  # no end of processing: the hand-over counts
    book.dossier(unit, "20261001080000", "20261009170000", None, returned="20261009160000")
    book.dossier(unit, "20261001080000", "20261009170000", "20261009160000", returned="20261020160000")
    book.dossier(unit, "20261001080000", "20261009170000", None, status="10")  # no moment at all
    book.dossiers_expect("hand-over", unit, "A", 2, 2)
    unit = book.unit("F3")  # test records leave A and B; and say so first
    book.dossier(unit, "20261001080000", None, "20260930160000", is_test=True)
    book.dossier(unit, "20261001080000", "20261009170000", "20261009160000", is_test=True)
    book.dossier(unit, "20261001080000", "20261009170000", "20261009160000", old_code=True)
    book.dossiers_expect("test_record", unit, "A", 1, 1, excluded=2)
    book.dossiers_expect("test_record", unit, "B", 1, 1, excluded=2)
    before, after = book.unit("F4A"), book.unit("F4B")  # the result moves to another unit and month
    dossier = book.dossier(before, "20260901080000", "20261009170000", "20260910160000")
    book.again(dossier, 1, resolving_unit="H29.F4B", finished_at=t("20261008160000"))
    book.dossiers_expect("moved", before, "A", 0, 0, "2026-09")
    book.dossiers_expect("moved", after, "A", 1, 1, "2026-10")
    unit = book.unit("F5")  # a result taken back
    dossier = book.dossier(unit, "20260901080000", "20261009170000", "20261008160000", status="9")
    book.again(dossier, 1, status_code="4", finished_at=None)
    book.index("taken back", unit, "A", status="no_data", status_reason="no_resolved_dossier")
    unit = book.unit("F6", is_scored=False)  # not scored: no row at all
    book.perfect(unit)
    unit = book.unit("F6B")  # two readings together change the verdict, none of them alone
    day = book.day_in("2026-10")
    dossier = book.dossier(unit, f"{day}080000", f"{day}170000", f"{day}150000")
    for i in range(10):
        book.rating(unit, f"{day}1600{i:02d}", "HÀI LÒNG" if i < 3 else "RẤT HÀI LÒNG", dossier=dossier)
    book.portal(unit, "2026-10", "16.7", (9, 9, 10), dossiers=(885, 1000))
    book.petitions(unit, 9, 1)
    for place in ("desk", "website"):
        check = book.check(unit, place, "2026-10-08")
        book.world.batches[0].posting_checks[-1] = replace(check, checker_kind_code="Văn phòng UBND Thành phố")
    book.k("readings", unit, k=Decimal("20.700000"), verdict="satisfied")
    unit = book.unit("F7")  # the first due date is learnt late: the earliest version that has one
    dossier = book.dossier(unit, "20261001080000", None, None)
    seen = book.again(dossier, 1, due_at=t("20261007170000"))
    book.again(seen, 2, due_at=t("20261020170000"), status_code="9", finished_at=t("20261008160000"))
    book.dossiers_expect("first due", unit, "A", 0, 1)
    unit = book.unit("F8")  # first seen after a supplement: the date before it is the first
    alone = book.supplement("20261005090000", "1", None, "20261007170000", None)
    book.dossier(unit, "20261001080000", "20261020170000", "20261008160000", supplements=(alone,))
    book.dossiers_expect("first due", unit, "A", 0, 1)
    unit = book.unit("F8B")  # a fee request, which tells no date, then a supplement never received: the old due date
    asked = (
        book.supplement("20261002090000", "5"),
        book.supplement("20261005090000", "1", None, "20261007170000", None),
    )
    book.dossier(unit, "20261001080000", "20261020170000", "20261008160000", status="8", supplements=asked)
    book.dossiers_expect("first due", unit, "A", 0, 1)
    unit = book.unit("F9")  # two supplements in full: the one received last decides
    asked_twice = (
        book.supplement("20261006090000", "2", "20261006100000", "20261005170000", "20261012170000"),
        book.supplement("20261002090000", "2", "20261002100000", "20261001170000", "20261005170000"),
    )
    book.dossier(unit, "20261001080000", "20261030170000", "20261012170000", supplements=asked_twice)
    book.dossiers_expect("last supplement", unit, "A", 1, 1)


# Index A of units named in interlinked dossiers when each is judged by its own step: points, cases counted, cases excluded.
INTERLINKED = {
    "LT1A": (1, 1, 0), "LT1B": (0, 1, 0),  # the late partner answers for the delay, the unit in charge for its own step
    "LT2A": (0, 1, 0), "LT2B": (1, 1, 0),  # not in the list: the unit in charge keeps the dossier
    "LT3A": (1, 1, 0), "LT3B": (0, 0, 1),  # not finished
    "LT4A": (1, 1, 0), "LT4B": (0, 0, 1),  # no limit of its own: the procedure's is not asked
    "LT5A": (1, 1, 0), "LT5B": (0, 0, 1),  # finished before it was received
    "LT6A": (1, 1, 0), "LT6B": (1, 1, 0),  # midnight is a date
    "LT7A": (1, 1, 0), "LT7B": (1, 1, 0),  # due on a Sunday
    "LT8A": (1, 1, 0),  # beside a unit that nobody knows
    "LT9A": (1, 1, 0), "LT9B": (1, 1, 0),  # done in July, counted when the dossier has its result
    "LT10A": (0, 0, 0), "LT10B": (0, 0, 0),  # no result yet
    "LT11A": (1, 1, 0), "LT11B": (0, 1, 0),  # told twice under one id: the one that finished last
    "LT12A": (1, 1, 0), "LT12B": (1, 2, 0),  # two steps of one unit
    "LT13A": (0, 1, 0), "LT13B": (0, 0, 0),  # a list, but not said to be interlinked
    "LT14A": (0, 0, 1), "LT14B": (0, 0, 1),  # a test
    "LT15A": (1, 1, 0), "LT15B": (0, 1, 0),  # overdue before the unit began: counted, as a dossier would be
    "LT16A": (0, 1, 0),  # an empty list: the dossier
    "LT17A": (0, 2, 0),  # two steps of the unit in charge: the dossier is taken away once
    "LT18A": (1, 1, 0), "LT18B": (1, 1, 0),  # finished after the dossier
}  # fmt: skip


def interlinked_dossiers(book: Book) -> None:
    """Dossiers of 1 to 9 October, done on the 12th and late, with a step of the unit in charge (A) and of another one (B)."""

    def pair(number: int, **other: str) -> tuple[str, str]:
        return book.unit(f"LT{number}A"), book.unit(f"LT{number}B", **other)

    def write(in_charge: str, *steps: Participant, **more: object) -> Dossier:
        finished = more.pop("finished", "20261012150000")
        book.dossiers_expect("interlinked", in_charge, "A", 0, 1 if finished and not more.get("is_test") else 0,
                             excluded=int(bool(more.get("is_test"))))  # fmt: skip
        return book.dossier(
            in_charge, "20261001080000", "20261009170000", finished, participants=steps, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def in_time(unit: str | None, number: str | None = None) -> Participant:
        return book.participant(unit, "20261001080000", "20261007170000", "20261007170000", participant_id=number)

    def late(unit: str, number: str | None = None) -> Participant:
        return book.participant(unit, "20261008080000", "20261008170000", "20261008170001", participant_id=number)

    a, b = pair(1)
    write(a, in_time(a), late(b))
    a, b = pair(2)
    write(a, in_time(b))
    a, b = pair(3)
    write(a, in_time(a), book.participant(b, "20261001080000", "20261002170000", None))
    a, b = pair(4)
    write(a, in_time(a), book.participant(b, "20261001080000", None, "20261002170000"), procedure="2.000005")
    a, b = pair(5)
    write(a, in_time(a), book.participant(b, "20261002080000", "20261007170000", "20261002075959"))
    a, b = pair(6)
    write(a, in_time(a), book.participant(b, "20261002080000", "20261007000000", "20261007235959"))
    a, b = pair(7)
    write(a, in_time(a), book.participant(b, None, "20261004170000", "20261005235959"))
    a = book.unit("LT8A")
    write(a, in_time(a), in_time("HCM.LT8X"), in_time(None))
    book.codes_of("HCM.LT8X")
    a, b = pair(9)
    write(a, in_time(a), book.participant(b, "20260701080000", "20260708170000", "20260703100000"))
    a, b = pair(10)
    write(a, in_time(a), late(b), finished=None)
    a, b = pair(11)
    write(a, in_time(a), late(b, "PHX"), in_time(b, "PHX"))
    a, b = pair(12)
    write(a, in_time(a), late(b), in_time(b))
    a, b = pair(13)
    book.again(write(a, in_time(a), in_time(b)), 0, is_interlinked=False)
    a, b = pair(14)
    write(a, in_time(a), late(b), is_test=True)
    a, b = pair(15, valid_from="2026-10-05")
    write(a, in_time(a), book.participant(b, "20261001080000", "20261002170000", "20261005080000"))
    a = book.unit("LT16A")
    book.again(write(a), 0, is_interlinked=True)
    a = book.unit("LT17A")
    write(a, late(a), late(a))
    a, b = pair(18)
    write(a, in_time(a), book.participant(b, "20261012160000", "20261016170000", "20261016100000"))
