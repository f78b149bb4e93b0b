"""What the report of a month says, in Vietnamese; `quarterly` adds what quarters and years say beyond it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from hailong.publish.report import words
from hailong.publish.report.data import ZONE, Change, Report, Row, Unit
from hailong.publish.report.paper import Block, Cell, Chart, Column, Issuer, Paper, Section, Text, Tone, appendix, table
from hailong.publish.report.phrases import BEST, VERDICTS, Counts, Phrases, counts, extremes

TEMPLATES = Path(__file__).parent / "templates"
TONES: dict[str, Tone] = {
    "satisfied": "good",
    "not_satisfied": "bad",
    "undetermined": "open",
    "satisfied_whatever": "good",
    "not_satisfied_whatever": "bad",
    "open": "open",
    "overdue": "bad",
    "rejected": "bad",
    "accepted": "good",
    "done": "good",
}
NAMED = 20  # so many units are named in a sentence
NO_K = "không có K"
GRAVEST: tuple[Tone, ...] = ("bad", "open", "good")
FLOW = (
    "open_at_start",
    "received",
    "resolved",
    "stopped",
    "withdrawn",
    "not_accepted",
    "without_moment",
    "open_at_end",
)


def compose(report: Report) -> Paper:
    """The paper of an edition."""
    from hailong.publish.report.quarterly import Quarterly

    return (Monthly if report.header.kind == "month" else Quarterly)(report).paper()


@cache
def issuers() -> dict[str, Issuer]:
    import yaml

    with (TEMPLATES / "issuers.yaml").open(encoding="utf-8") as file:
        said = yaml.safe_load(file)
    return {kind: Issuer(**values | {"recipients": tuple(values["recipients"])}) for kind, values in said.items()}


@dataclass(frozen=True)
class Move:
    """How the K of a unit changed: before, now, the changes of its indices, and whether one case explains it."""

    unit_code: str
    before: Decimal
    now: Decimal
    change: Decimal
    parts: Mapping[str, Decimal]
    within_one_case: bool | None


class Monthly:
    """The sections of a month's report."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.say = Phrases(report)

    def paper(self) -> Paper:
        header, issuer = self.report.header, issuers()[self.report.header.kind]
        name = words.lower_first(words.period_name(header.period_code))
        published = header.published_at.astimezone(ZONE)
        return Paper(
            edition_id=header.edition_id,
            content_sha256=header.content_sha256,
            issuer=issuer,
            dated=f"{issuer.place}, ngày {published:%d} tháng {words.month(published)} năm {published.year}",
            title="BÁO CÁO",
            subtitle=(
                "Kết quả đánh giá chất lượng phục vụ người dân, tổ chức trong thực hiện thủ tục hành chính, "
                f"dịch vụ công trực tuyến {name}"
            ),
            opening=(
                (f"Căn cứ {header.legal_basis}, " if header.legal_basis else "")
                + f"{issuer.name} báo cáo kết quả đánh giá {name} (từ ngày {words.day(header.period_start)} đến "
                f"hết ngày {words.day(header.last_day)}; chốt số liệu {words.moment(header.cutoff_at)}; ấn bản "
                f"{header.edition_id}) như sau:"
            ),
            sections=tuple(
                Section(f"{_roman(number)}. {title}", tuple(blocks))
                for number, (title, blocks) in enumerate(self.sections(), start=1)
            ),
            closing=f"Trên đây là báo cáo kết quả đánh giá {name}, kính trình xem xét, chỉ đạo./.",
            appendices=tuple(
                appendix(number, title, blocks) for number, (title, blocks) in enumerate(self.appendices(), start=1)
            ),
        )

    def sections(self) -> Iterable[tuple[str, Iterable[Block]]]:
        yield "KẾT QUẢ CHUNG", self.overview()
        if self.report.header.supersedes:
            yield "NGUYÊN NHÂN THAY ĐỔI SO VỚI ẤN BẢN TRƯỚC", self.causes()
        yield "KHỐI LƯỢNG HỒ SƠ", self.volumes()
        yield "ĐÁNH GIÁ CỦA NGƯỜI DÂN, TỔ CHỨC", self.ratings()
        yield "PHẢN ÁNH, KIẾN NGHỊ", self.petitions()
        yield "CƠ QUAN PHẢI GIẢI TRÌNH", self.explanations()
        yield "SỐ LIỆU CÒN THIẾU VÀ TRÁCH NHIỆM BỔ SUNG", self.missing()
        yield "KẾT QUẢ PHỤ THUỘC CÁCH HIỂU QUY ĐỊNH", self.readings()
        yield "SỐ LIỆU VỀ MUỘN VÀ TÁC ĐỘNG", self.late()
        yield "ĐỐI CHIẾU HỆ THỐNG THÀNH PHỐ VỚI CỔNG DỊCH VỤ CÔNG QUỐC GIA", self.reconciliation()
        yield "CĂN CỨ VÀ CÁCH TÍNH", self.basis()

    def appendices(self) -> Iterable[tuple[str, Iterable[Block]]]:
        yield "Kết quả của từng cơ quan", self.ranking()
        yield "Khối lượng hồ sơ của từng cơ quan", self.volume_of_units()
        yield "Nội dung từng cơ quan phải giải trình", self.explanations_of_units()
        yield "Tác động của số liệu về muộn đến từng cơ quan", self.effects_of_units()
        yield "Tham số đã áp dụng", self.parameters()

    # -- I. overview ----------------------------------------------------------------------------------------------

    def overview(self) -> Iterable[Block]:
        every = counts(self.report.units)
        scored = sum(unit.k is not None for unit in self.report.units)
        yield Text(
            f"Trong kỳ có {every.units} cơ quan, đơn vị thuộc diện đánh giá: {scored} có đủ năm chỉ số và có tổng điểm K; "
            f"{every.incomplete} chưa đủ chỉ số nên chưa có K; {every.not_applicable} không áp dụng. "
            + (
                f"Trong số có K, {every.clipped} cơ quan hoạt động không trọn kỳ: có điểm và xếp loại nhưng không xếp hạng."
                if every.clipped
                else "Mọi cơ quan có K đều hoạt động trọn kỳ."
            )
        )
        yield from self.verdicts()
        yield from self.pooled()
        yield Text("Cao nhất và thấp nhất từng nhóm", "head")
        yield from self.extremes()
        yield Text("Biến động lớn nhất của K", "head")
        yield from self.movers()

    def verdicts(self) -> Iterable[Block]:
        columns = (
            Column("Nhóm cơ quan", 26), Column("Số cơ quan", 9, "center"), Column("Hài lòng", 10, "center"),
            Column("Không hài lòng", 10, "center"), Column(self.say.verdict("undetermined") or "", 13, "center"),
            Column("Chưa đủ chỉ số", 10, "center"), Column("Không áp dụng", 10, "center"), Column("K trung vị", 10, "center"),
        )  # fmt: skip
        earlier = self.report.earlier
        before: dict[str, list[Unit]] = defaultdict(list)
        for unit in earlier.units if earlier else ():
            before[unit.peer_group].append(unit)
        rows = [
            self._verdict_row(
                group.name, counts(group.units), counts(before[group.code]) if before[group.code] else None
            )
            for group in self.report.groups
        ]
        rows.append(
            self._verdict_row("Toàn Thành phố", counts(self.report.units), counts(earlier.units) if earlier else None)
        )
        yield table(columns, rows, totals=1)
        if earlier:
            yield Text(
                f"Trong ngoặc: thay đổi so với {words.lower_first(words.period_name(earlier.period_code))} "
                f"(ấn bản {earlier.edition_id}).",
                "note",
            )
        else:
            yield Text("Chưa có ấn bản của kỳ trước để so sánh.", "note")
        yield Chart(
            "verdicts",
            "Xếp loại theo nhóm cơ quan",
            tuple(
                {"group": group.name, "state": state, "units": number}
                for group in self.report.groups
                for state, number in zip(STATES, counts(group.units).states, strict=True)
            ),
            self.say.threshold,
        )
        totals = tuple({"group": u.peer_group_name, "k": float(u.k)} for u in self.report.units if u.k is not None)
        if totals:
            yield Chart("k", "Phân bố tổng điểm K", totals, self.say.threshold)

    def _verdict_row(self, name: str, now: Counts, before: Counts | None) -> list[str | Cell]:
        def changed(number: int, was: int | None) -> str:
            return f"{number}" if was is None else f"{number} ({words.signed(Decimal(number - was), 0)})"

        states = zip(now.states, before.states if before else (None,) * 5, strict=True)
        return [
            name,
            changed(now.units, before.units if before else None),
            *(changed(number, was) for number, was in states),
            self.say.k(now.k[1] if now.k else None),
        ]

    def pooled(self) -> Iterable[Block]:
        columns = (
            Column("Nhóm cơ quan", 26), Column("Hồ sơ đã giải quyết", 13, "right"), Column("A", 9, "center"),
            Column("B", 9, "center"), Column("Lượt đánh giá", 12, "right"), Column("C", 9, "center"),
            Column("D trung vị", 10, "center"), Column("Tỷ lệ E = 1", 10, "center"),
        )  # fmt: skip
        rows = []
        for name, units in (*((g.name, g.units) for g in self.report.groups), ("Toàn Thành phố", self.report.units)):
            pool = self.say.pool(units)
            rows.append(
                [
                    name, words.count(pool.dossiers), figure(pool.a, 4), figure(pool.b, 4), words.count(pool.ratings),
                    figure(pool.c, 4), figure(pool.d), words.NONE if pool.e is None else words.percent(pool.e),
                ]
            )  # fmt: skip
        yield Text("Năm chỉ số, tính gộp theo nhóm", "head")
        yield table(columns, rows, totals=1)
        yield Text(
            "A, B, C gộp: tổng điểm chia tổng hồ sơ, lượt đánh giá của nhóm, không phải trung bình của các cơ quan.",
            "note",
        )

    def extremes(self) -> Iterable[Block]:
        columns = (Column("Hạng", 8, "center"), Column("K", 10, "center"), Column("Cơ quan", 60), Column("Ghi chú", 22))
        for group in self.report.groups:
            if not group.ranked:
                continue
            best, worst = extremes(group)
            for title, units in (("cao nhất", best), ("thấp nhất", worst)):
                if not units:
                    continue
                yield Text(f"{group.name}: {title}", "item")
                yield table(columns, [self._tied(tied) for tied in _ties(units)])

    def _tied(self, units: Sequence[Unit]) -> list[str | Cell]:
        """All who share a rank, on one row."""
        verdicts = {unit.verdict for unit in units}  # ranks are by K of two decimals, verdicts by all of them
        losses = {self.say.loss(unit) for unit in units}
        lost = f"Mất điểm nhiều nhất: {loss}" if len(losses) == 1 and (loss := losses.pop()) else ""
        together = f"{len(units)} cơ quan cùng hạng" if len(units) > 1 else ""
        return [
            str(units[0].rank_in_group),
            Cell(
                "; ".join(dict.fromkeys(self.say.k(unit.k) for unit in units)),
                TONES.get(verdicts.pop() or "", "") if len(verdicts) == 1 else "",
            ),
            "; ".join(unit.unit_name for unit in units),
            words.listed((together, lost)),
        ]

    def movers(self) -> Iterable[Block]:
        rows = [row for row in self.report.annex("trend") if row["index_code"] == "K"]
        if not rows:
            yield self.absent("trend")
            return
        moves, stopped = self._moves(rows)
        columns = (
            Column("Cơ quan", 34), Column("Kỳ trước", 11, "center"), Column("Kỳ này", 11, "center"),
            Column("Thay đổi", 11, "center"), Column("Chỉ số thay đổi nhiều nhất", 18, "center"),
            Column("Một trường hợp", 15, "center"),
        )  # fmt: skip
        drawn: list[Move] = []
        for title, sign in (("Tăng nhiều nhất", 1), ("Giảm nhiều nhất", -1)):
            found = _most([move for move in moves if move.change * sign > 0], sign)
            if not found:
                continue
            yield Text(title, "item")
            yield table(
                columns,
                [
                    [
                        self.say.name(move.unit_code),
                        self.say.k(move.before),
                        self.say.k(move.now),
                        Cell(words.signed(move.change), "good" if sign > 0 else "bad"),
                        _largest(move.parts),
                        _yes_no(move.within_one_case),
                    ]
                    for move in found
                ],
            )
            drawn += found[: 2 * BEST]
        still = sum(move.change == 0 for move in moves)
        yield Text(
            f"So sánh được {len(moves)} cơ quan, trong đó {still} không đổi. “Một trường hợp”: một hồ sơ, lượt đánh giá "
            "hoặc phản ánh, kiến nghị nhiều hơn, ít hơn hay chấm khác đi đã đủ giải thích thay đổi."
            + (
                ""
                if not stopped
                else f" Không so sánh: {_tally(stopped, words.NO_TREND | words.NOT_BETWEEN_EDITIONS)}."
            ),
            "note",
        )
        earlier = self.report.earlier
        yield Text(
            f"Kỳ trước: K đã công bố ở ấn bản {earlier.edition_id}. Cột “Một trường hợp” để “—” khi số liệu hiện nay của kỳ "
            "trước đã khác ấn bản đó."
            if earlier
            else f"Chưa có ấn bản của kỳ trước. {self.say.recomputed()}",
            "note",
        )
        if drawn:
            names = self._apart([move.unit_code for move in drawn])
            yield Chart(
                "movers",
                "Thay đổi của K so với kỳ trước",
                tuple({"unit": names[move.unit_code], "change": float(move.change)} for move in drawn),
                self.say.threshold,
            )

    def _moves(self, rows: Sequence[Row]) -> tuple[list[Move], Counter[str | None]]:
        """Changes of K, and why others have none. The period before is its edition; where there is none, the trend."""
        moves: list[Move] = []
        stopped: Counter[str | None] = Counter()
        earlier = self.report.earlier
        now = {unit.unit_code: unit for unit in self.report.units}
        before = {unit.unit_code: unit for unit in earlier.units} if earlier else {}
        parts = self._parts()
        for row in rows:
            code = row["unit_code"]
            unit, was = now.get(code), before.get(code)
            if row["previous_stopped_by"] is not None:
                stopped[row["previous_stopped_by"]] += 1
            elif earlier is None:
                if row["previous_change"] is None:
                    stopped[None] += 1
                    continue
                moves.append(
                    Move(code, row["previous_value"], row["value"], row["previous_change"], parts[code],
                         row["previous_within_one_case"])
                )  # fmt: skip
            elif unit is None or unit.k is None or was is None or was.k is None:
                stopped["not_in_earlier_edition" if unit and unit.k is not None else "not_scored"] += 1
            else:
                # One case was weighed against the change in the trend: of another change it says nothing.
                within = row["previous_within_one_case"] if row["previous_change"] == unit.k - was.k else None
                moves.append(Move(code, was.k, unit.k, unit.k - was.k, _differences(was, unit), within))
        return moves, stopped

    def _parts(self) -> dict[str, dict[str, Decimal]]:
        found: dict[str, dict[str, Decimal]] = defaultdict(dict)
        for row in self.report.annex("trend"):
            if row["index_code"] != "K" and row["previous_change"]:
                found[row["unit_code"]][row["index_code"]] = row["previous_change"]
        return found

    def _apart(self, codes: Sequence[str]) -> dict[str, str]:
        """Names by which these units can be told apart: two of the same name carry their codes."""
        often = Counter(self.say.name(code) for code in codes)
        return {code: name if often[name := self.say.name(code)] == 1 else f"{name} ({code})" for code in codes}

    # -- restated -------------------------------------------------------------------------------------------------

    def causes(self) -> Iterable[Block]:
        header = self.report.header
        yield Text(
            f"Ấn bản {header.edition_id} thay ấn bản {header.supersedes}. Lý do: {(header.reason or words.NONE).rstrip('.')}."
        )
        if not self.report.changes:
            yield Text("Không có thay đổi nào theo nguyên nhân được ghi cho ấn bản này.", "note")
            return
        by_cause: dict[str, list[Change]] = defaultdict(list)
        for change in self.report.changes:
            by_cause[change.cause].append(change)
        yield table(
            (Column("Nguyên nhân", 34), Column("Cơ quan", 12, "center"), *(Column(i, 9, "center") for i in "ABCDEK")),
            [
                [
                    name,
                    str(len({change.unit_code for change in by_cause[cause]})),
                    *(str(sum(change.index_code == index for change in by_cause[cause])) for index in "ABCDEK"),
                ]
                for cause, name in words.CAUSES.items()
                if by_cause[cause]
            ],
        )
        yield Text("Số cơ quan có thay đổi, theo từng nguyên nhân và chỉ số.", "note")
        totals: dict[str, list[Change]] = defaultdict(list)
        for change in self.report.changes:
            if change.index_code == "K":
                totals[change.unit_code].append(change)
        if not totals:
            yield Text("Không cơ quan nào thay đổi tổng điểm K.")
            return
        yield table(
            (
                Column("Cơ quan", 30),
                Column("K trước", 11, "center"),
                Column("K nay", 11, "center"),
                Column("Nguyên nhân", 48),
            ),
            [
                [
                    self.say.name(unit),
                    self.say.k(changes[0].was),
                    self.say.k(changes[0].now),
                    self._contributions(changes),
                ]
                for unit, changes in totals.items()
            ],
        )

    def _contributions(self, changes: Sequence[Change]) -> str:
        """What each cause did; where there is no number, how the verdict changed."""
        return "; ".join(
            f"{words.CAUSES.get(change.cause, change.cause)}: "
            + (
                f"{self.say.state(change.status_before) or NO_K} → {self.say.state(change.status_after) or NO_K}"
                if change.contribution is None
                else words.signed(change.contribution, 4)
            )
            for change in changes
        )

    # -- volumes --------------------------------------------------------------------------------------------------

    def volumes(self) -> Iterable[Block]:
        rows = self.report.annex("dossier_flow")
        if not rows:
            yield self.absent("dossier_flow")
            return
        of_unit = {row["unit_code"]: row for row in rows}
        groups = [
            (g.name, [of_unit[u.unit_code] for u in g.units if u.unit_code in of_unit]) for g in self.report.groups
        ]
        every = ("Toàn Thành phố", list(rows))
        yield table(FLOW_COLUMNS, [_flow_row(name, members) for name, members in (*groups, every) if members], totals=1)
        yield Text(
            "Tồn đầu kỳ + tiếp nhận = giải quyết + dừng xử lý + rút + không tiếp nhận + không rõ thời điểm + tồn cuối kỳ. "
            "“Quá hạn” là số đang tồn cuối kỳ đã quá ngày hẹn trả, không nằm trong A.",
            "note",
        )
        yield from self.channels()
        inherited = total(rows, "inherited_overdue")
        if inherited != 0:
            yield Text(
                f"Có {words.count(inherited)} hồ sơ trả kết quả muộn đã quá hạn từ trước khi cơ quan tiếp quản "
                "(vẫn tính vào A theo tham số inherited_overdue)."
            )

    def channels(self) -> Iterable[Block]:
        """What was received, by the channel that it came by."""
        rows = self.report.annex("received_by_channel")
        if not rows:
            yield self.absent("received_by_channel")
            return
        codes = [*words.CHANNELS, *sorted({row["channel_code"] for row in rows} - {*words.CHANNELS, None}), None]
        codes = [code for code in codes if any(row["channel_code"] == code for row in rows)]

        def counted(name: str, units: set[str] | None) -> list[str]:
            own = [row for row in rows if units is None or row["unit_code"] in units]
            sums = [total([row for row in own if row["channel_code"] == code], "received") for code in codes]
            return [name, *map(words.count, (*sums, total(own, "received")))]

        groups = [(group.name, {unit.unit_code for unit in group.units}) for group in self.report.groups]
        yield Text("Tiếp nhận theo kênh nộp hồ sơ", "head")
        yield table(
            (
                Column("Nhóm cơ quan", 40),
                *(Column(words.CHANNELS.get(code, code or "Không rõ"), 15, "center") for code in codes),
                Column("Cộng", 15, "center"),
            ),
            [counted(name, units) for name, units in groups] + [counted("Toàn Thành phố", None)],
            totals=1,
        )

    def volume_of_units(self) -> Iterable[Block]:
        rows = self.report.annex("dossier_flow")
        if not rows:
            yield self.absent("dossier_flow")
            return
        of_unit = {row["unit_code"]: row for row in rows}
        order = [unit.unit_code for unit in self.report.units]
        order += [code for code in of_unit if code not in self.say.names]
        yield table(
            FLOW_COLUMNS, [_flow_row(self.say.name(code), [of_unit[code]]) for code in order if code in of_unit]
        )

    # -- ratings --------------------------------------------------------------------------------------------------

    def ratings(self) -> Iterable[Block]:
        rows = []
        for name, units in (*((g.name, g.units) for g in self.report.groups), ("Toàn Thành phố", self.report.units)):
            pool = self.say.pool(units)
            silent = sum(self._silent(unit) for unit in units)
            rows.append(
                [
                    name, words.count(pool.ratings), words.count(pool.good), figure(pool.c, 4),
                    figure(100 * pool.ratings / pool.dossiers if pool.ratings is not None and pool.dossiers else None, 1),
                    str(silent),
                ]
            )  # fmt: skip
        yield table(
            (
                Column("Nhóm cơ quan", 30), Column("Lượt đánh giá", 14, "right"), Column("Lượt tốt", 14, "right"),
                Column("C", 10, "center"), Column("Lượt trên 100 hồ sơ có kết quả", 17, "center"),
                Column("Cơ quan không có lượt nào", 15, "center"),
            ),
            rows,
            totals=1,
        )  # fmt: skip
        silent_names = [unit.unit_name for unit in self.report.units if self._silent(unit)]
        if silent_names:
            yield Text(f"Không có lượt đánh giá nào: {some(silent_names)}.")
        few = [unit.unit_name for unit in self.report.units if self._few(unit)]
        if few:
            limit = self.report.parameter("c_min_ratings")
            yield Text(
                f"Có lượt đánh giá nhưng dưới {limit} lượt (điểm C không được công khai, Điều 3 khoản 4): {some(few)}."
            )

    def _silent(self, unit: Unit) -> bool:
        row = self.report.indices.get(unit.unit_code, {}).get("C")
        return row is not None and row.status == "no_data"

    def _few(self, unit: Unit) -> bool:
        row = self.report.indices.get(unit.unit_code, {}).get("C")
        return row is not None and self.say.is_few(row.denominator)

    # -- petitions ------------------------------------------------------------------------------------------------

    def petitions(self) -> Iterable[Block]:
        rows = self.report.annex("petition_count")
        if not rows:
            yield self.absent("petition_count")
            return
        read = [row for row in rows if row["is_read"]]
        unread = len(rows) - len(read)
        of_unit = {row["unit_code"]: row for row in read}
        lines = [
            (group.name, [of_unit[u.unit_code] for u in group.units if u.unit_code in of_unit])
            for group in self.report.groups
        ]
        yield table(
            PETITION_COLUMNS,
            [_petition_row(name, members) for name, members in (*lines, ("Toàn Thành phố", read)) if members],
            totals=1 if read else 0,
        )
        if unread:
            yield Text(
                f"Chưa đọc đủ phản ánh, kiến nghị của {unread} cơ quan: số của họ không có trong bảng, không phải là 0."
            )
        yield from self.terms()
        owing = [row for row in read if row["unanswered"]]
        if owing:
            owing.sort(key=lambda row: (-row["unanswered"], row["unit_code"]))
            yield Text("Cơ quan còn phản ánh, kiến nghị quá hạn chưa trả lời", "item")
            yield table(PETITION_COLUMNS, [_petition_row(self.say.name(row["unit_code"]), [row]) for row in owing])
        unknown = sum(row["unanswered"] is None for row in read)
        if unknown:
            yield Text(f"Chưa rõ số phản ánh, kiến nghị quá hạn chưa trả lời của {unknown} cơ quan.")
        elif not owing:
            yield Text("Không cơ quan nào còn phản ánh, kiến nghị quá hạn chưa trả lời.")

    def terms(self) -> Iterable[Block]:
        rows = self.report.annex("petition_term")
        if not rows:
            return
        of_term: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            of_term[row["term_code"]].append(row)
        yield Text("Thời hạn xử lý theo Quyết định số 766/QĐ-TTg", "item")
        yield table(
            (
                Column("Bước", 36), Column("Phải thực hiện", 16, "right"), Column("Đúng hạn", 16, "right"),
                Column("Quá hạn", 16, "right"), Column("Còn trong hạn", 16, "right"),
            ),
            [
                [name, *(words.count(total(of_term[code], measure)) for measure in ("ran", "kept", "broken", "running"))]
                for code, name in words.TERMS.items()
                if code in of_term
            ],
        )  # fmt: skip

    # -- explanations ---------------------------------------------------------------------------------------------

    def explanations(self) -> Iterable[Block]:
        rows = self.report.annex("explanation_owed")
        if not rows:
            yield self.absent("explanation_owed")
            return
        owed = [row for row in rows if row["state"] != "not_compared"]
        units = {row["unit_code"] for row in owed}
        yield Text(
            f"Thủ trưởng {len(units)} cơ quan phải giải trình {len(owed)} nội dung trước cơ quan cấp trên "
            "(Điều 3 khoản 8)."
        )
        if owed:
            states = [state for state in words.EXPLANATION_STATES if any(row["state"] == state for row in owed)]
            yield table(
                (
                    Column("Lý do", 40), Column("Cơ quan", 12, "center"),
                    *(Column(words.EXPLANATION_STATES[state], 14, "center") for state in states),
                ),
                [
                    [name, str(len(of)), *(str(sum(row["state"] == state for row in of)) for state in states)]
                    for reason, name in words.EXPLANATION_REASONS.items()
                    if (of := [row for row in owed if row["reason"] == reason])
                ],
            )  # fmt: skip
            days = sorted({row["due_on"] for row in owed if row["due_on"]})
            yield Text(
                f"Hạn giải trình: {', '.join(map(iso_day, days)) or words.NONE}. Từng cơ quan ở phụ lục. "
                + self.say.recomputed(),
                "note",
            )
        because = Counter(row["not_compared_because"] for row in rows if row["state"] == "not_compared")
        if because:
            yield Text(
                f"Giảm nhưng không so sánh được nên không phải giải trình: {_tally(because, words.NOT_COMPARED)}.",
                "note",
            )

    def explanations_of_units(self) -> Iterable[Block]:
        owed: dict[str, list[Row]] = defaultdict(list)
        for row in self.say.in_order(self.report.annex("explanation_owed")):
            if row["state"] != "not_compared":
                owed[row["unit_code"]].append(row)
        if not owed:
            yield self.absent("explanation_owed")
            return
        yield table(
            (
                Column("Cơ quan", 20),
                Column("Lý do và số liệu", 52),
                Column("Hạn", 12, "center"),
                Column("Tình trạng", 16),
            ),
            [
                [
                    self.say.name(unit),
                    "; ".join(
                        f"{words.named(words.EXPLANATION_REASONS, r['reason'])} ({self.measured(r)})" for r in rows
                    ),
                    ", ".join(sorted({iso_day(row["due_on"]) for row in rows})),
                    self._states(rows),
                ]
                for unit, rows in owed.items()
            ],
        )
        yield Text(self.say.recomputed(), "note")

    def _states(self, rows: Sequence[Row]) -> Cell:
        """The state of all reasons of a unit, or each state with its number; the colour of the gravest."""
        found = Counter(row["state"] for row in rows)
        names = {state: words.named(words.EXPLANATION_STATES, state) for state in found}
        told = [
            name if len(found) == 1 else f"{found[state]} {words.lower_first(name)}" for state, name in names.items()
        ]
        tones = {TONES.get(state, "") for state in found}
        return Cell("; ".join(told), next((tone for tone in GRAVEST if tone in tones), ""))

    def measured(self, row: Row) -> str:
        """What an explanation is about, as a figure against what it is compared with."""
        now, before = row["measured"], row["compared_with"]
        if now is None:
            return "K chưa đủ chỉ số, chắc chắn dưới ngưỡng"
        match row["reason"]:
            case "not_satisfied":
                return f"K = {self.say.k(Decimal(now))}"
            case "k_fell":
                return f"{self.say.k(before)} → {self.say.k(Decimal(now))}"
            case "a_fell":
                return f"A: {figure(before, 4)} → {words.number(Decimal(now), 4)}"
            case "overdue_long":
                return f"{words.count(now)} hồ sơ quá hạn trên {words.count(row['threshold'])} ngày làm việc"
            case "reconciliation":
                return f"{words.count(now)} trên {words.count(before)} hồ sơ khác nhau"
        return words.short(Decimal(now))

    # -- missing --------------------------------------------------------------------------------------------------

    def missing(self) -> Iterable[Block]:
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        without = set()
        for _, unit, index in self.say.missing():
            if index is None:
                continue
            without.add(unit.unit_code)
            found[index.index_code, index.status_reason or index.status].append(unit.unit_name)
        if not found:
            yield Text("Không cơ quan nào thiếu chỉ số phải có.")
            return
        yield Text(f"{len(without)} cơ quan còn thiếu chỉ số nên chưa có K. Thiếu số liệu không có nghĩa là 0 điểm.")
        yield table(
            (Column("Chỉ số", 8, "center"), Column("Lý do", 25), Column("Ai cần làm gì", 27), Column("Cơ quan", 40)),
            [
                [
                    index,
                    words.reason(code) if words.reason(code) != code else words.named(words.STATUSES, code),
                    words.owed_by(code) or words.NONE,
                    f"{len(names)} cơ quan: {'; '.join(names)}",
                ]
                for (index, code), names in sorted(found.items())
            ],
        )
        bounds = Counter(unit.verdict_bound for unit in self.report.units if unit.status == "incomplete")
        names = {bound: words.lower_first(name) for bound, name in words.BOUNDS.items()}
        yield Text(f"Kết luận hiện có của các cơ quan này: {_tally(bounds, names)}.", "note")

    # -- readings -------------------------------------------------------------------------------------------------

    def readings(self) -> Iterable[Block]:
        rows = self.report.annex("k_sensitivity")
        if not rows:
            yield self.absent("k_sensitivity")
            return
        depends = [row for row in rows if row["verdict_stability"] == "depends"]
        stable = sum(row["verdict_stability"] == "stable" for row in rows)
        yield Text(
            f"Xếp loại của {stable} cơ quan không đổi dù những chỗ Quyết định chưa quy định rõ được hiểu cách nào; của "
            f"{len(depends)} cơ quan thì phụ thuộc cách hiểu."
        )
        if depends:
            yield table(
                (
                    Column("Cơ quan", 26), Column("K", 10, "center"), Column("K thấp nhất – cao nhất", 17, "center"),
                    Column("Cách hiểu làm đổi xếp loại", 30), Column("Xếp loại khi đó", 17, "center"),
                ),
                [
                    [
                        self.say.name(row["unit_code"]),
                        Cell(self.say.k(row["k"]), TONES.get(row["verdict"] or "", "")),
                        f"{self.say.k(row['k_min'])} – {self.say.k(row['k_max'])}",
                        words.readings(row["flipping_readings"]) or words.NONE,
                        self.say.verdict(row["flipped_verdict"]) or "Không có K",
                    ]
                    for row in self.say.in_order(depends)
                ],
            )  # fmt: skip
            yield Text("Ý nghĩa và lý do chọn của từng tham số ở phụ lục “Tham số đã áp dụng”.", "note")

    # -- late -----------------------------------------------------------------------------------------------------

    def late(self) -> Iterable[Block]:
        header = self.report.header
        rows = self.report.annex("late_data")
        if rows:
            yield table(
                (
                    Column("Loại bản ghi", 34), Column("Số bản ghi của kỳ", 17, "right"),
                    Column("Nạp đúng ngày phát sinh", 17, "right"), Column("Nạp sau ngày phát sinh", 17, "right"),
                    Column("Muộn nhất (ngày)", 15, "right"),
                ),
                [
                    _lateness(name, of)
                    for measure, name in words.MEASURES.items()
                    if (of := [row for row in rows if row["measure"] == measure])
                ],
            )  # fmt: skip
        else:
            yield self.absent("late_data")
        if header.late_batches:
            yield Text(f"Ấn bản này có {header.late_batches} đợt nạp sau thời điểm chốt số liệu.")
        yield from self.later()
        late = [change for change in self.report.changes if change.cause == "late" and change.index_code == "K"]
        if late:
            yield Text(
                f"So với ấn bản {header.supersedes}, dữ liệu về muộn làm đổi K của {len(late)} cơ quan (mục II)."
            )
        yield from self.effects()

    def effects(self) -> Iterable[Block]:
        """What came after the numbers of this and of each published period were counted, and what it would make of them."""
        periods = sorted(
            self.report.annex("later_period"), key=lambda row: (row["edition_id"] is not None, row["period_code"])
        )
        yield Text("Kỳ này và các kỳ đã công bố, so với số liệu đến lúc lập bản trình", "head")
        if not periods:
            yield self.absent("later_period")
            return
        came: dict[str, list[Row]] = defaultdict(list)
        for row in self.report.annex("later_record"):
            if row["measure"] in SCORED:
                came[row["period_code"]].append(row)
        touched = [row for row in periods if row["units"] != 0 or row["period_code"] in came]
        if touched:
            yield table(
                (
                    Column("Kỳ", 20), Column("Ấn bản", 14), Column("Bản ghi về sau", 12, "right"),
                    Column("Bản ghi đổi sau", 12, "right"), Column("Cơ quan đổi chỉ số", 14, "right"),
                    Column("Đổi K", 14, "right"), Column("Đổi xếp loại", 14, "right"),
                ),
                [
                    [
                        words.period_name(row["period_code"]),
                        row["edition_id"] or "Ấn bản này",
                        words.count(total(came[row["period_code"]], "late")),
                        words.count(total(came[row["period_code"]], "changed")),
                        *(words.count(row[name]) for name in ("units", "units_other_k", "units_other_verdict")),
                    ]
                    for row in touched
                ],
            )  # fmt: skip
        still = len(periods) - len(touched)
        built_to = words.count(largest(periods, "built_to"))
        yield Text(
            f"Tính đến đợt nạp số {built_to}. Bản ghi: hồ sơ có kết quả, lượt đánh giá, phản ánh, kiến nghị về (hoặc đổi) sau "
            "đợt nạp cuối của từng ấn bản; kiểm tra niêm yết và số của Cổng không đếm, tác động của chúng có trong các cột sau."
            + (f" {still} kỳ không có gì thay đổi." if still else "")
            + (" “—”: kỳ không còn trong số liệu hiện nay, không so sánh được." if _unknown(touched, "units") else ""),
            "note",
        )
        others = [row["period_code"] for row in touched if row["is_by_same_rules"] is False]
        if others:
            yield Text(
                f"Quy tắc tính đã đổi sau khi công bố {_periods(others)}: tác động gồm cả phần do quy tắc.",
                "note",
            )
        yield from self.proposed(touched)

    def proposed(self, periods: Sequence[Row]) -> Iterable[Block]:
        """Where a verdict would be another, a restatement is proposed; nothing is changed by itself."""
        turned = [row for row in self.report.annex("later_effect") if row["is_other_verdict"]]
        if not turned:
            return
        yield Text("Cơ quan sẽ đổi xếp loại", "item")
        yield table(EFFECT_COLUMNS, self._effect_rows(turned))
        told = [row["period_code"] for row in periods if row["units_other_verdict"] and row["edition_id"]]
        if told:
            yield Text(f"Đề nghị lập ấn bản đính chính của {_periods(told)}. Ấn bản đã công bố không tự thay đổi.")
        if any(row["edition_id"] is None for row in turned):
            yield Text(
                "Xếp loại của chính kỳ này sẽ khác nếu tính cả số liệu về sau thời điểm chốt: đề nghị đính chính sau khi công bố."
            )

    def effects_of_units(self) -> Iterable[Block]:
        rows = self.report.annex("later_effect")
        if not rows:
            yield self.absent("later_effect")
            return
        yield table(EFFECT_COLUMNS, self._effect_rows(rows))
        yield Text(
            "Chỉ số: có giá trị, số đếm hoặc trạng thái khác. “—”: không có giá trị hoặc không có dòng, không phải là 0. "
            "Số bản ghi theo từng loại ở phụ lục XLSX.",
            "note",
        )

    def _effect_rows(self, rows: Sequence[Row]) -> list[list[str | Cell]]:
        """Units of this period first, then of the others, each in the order of the ranking."""
        ordered = sorted(self.say.in_order(rows), key=lambda row: (row["edition_id"] is not None, row["period_code"]))
        return [
            [
                row["period_code"],
                self.say.name(row["unit_code"]),
                ", ".join((row["indices"] or words.NONE).split(",")),
                self.say.k(row["k_was"]),
                self.say.k(row["k_now"]),
                *(
                    Cell(
                        self.say.stands(row[f"verdict_{side}"], row[f"status_{side}"], row[f"reason_{side}"]),
                        TONES.get(row[f"verdict_{side}"] or "", ""),
                    )
                    for side in ("was", "now")
                ),
            ]
            for row in ordered
        ]

    def later(self) -> Iterable[Block]:
        """What came after the last batch of this edition; nothing where nobody counted it."""
        header = self.report.header
        if header.later_batches:
            yield Text(
                f"Sau đợt nạp cuối của ấn bản (số {header.as_of_batch}), đến lúc lập bản trình đã có thêm "
                f"{words.count(header.later_records)} bản ghi của mọi kỳ ({header.later_batches} đợt nạp). Các bản ghi này "
                "không có trong ấn bản; nếu làm đổi kết quả thì được nêu trong ấn bản đính chính, kèm nguyên nhân."
            )
        elif self.report.has_annexes:  # of older candidates the columns hold nought for unknown
            yield Text(
                f"Đến lúc lập bản trình không có bản ghi nào về sau đợt nạp cuối của ấn bản (số {header.as_of_batch})."
            )

    # -- reconciliation -------------------------------------------------------------------------------------------

    def reconciliation(self) -> Iterable[Block]:
        rows = self.report.annex("reconciliation")
        if not rows:
            yield self.absent("reconciliation")
            return
        of_reason: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            of_reason[row["reason"]].append(row)
        lines = [_sides(name, of_reason[code]) for code, name in words.RECONCILIATION.items() if code in of_reason]
        lines.append(_sides("Tổng số", rows))
        yield table(
            (Column("Kết quả đối chiếu", 49), Column("Hồ sơ ở Thành phố", 17, "right"), Column("Hồ sơ ở Cổng", 17, "right"),
             Column("Chênh lệch", 17, "right")),
            lines, totals=1,
        )  # fmt: skip
        owed = {row["unit_code"] for row in self.report.annex("explanation_owed") if row["reason"] == "reconciliation"}
        if owed:
            names = [unit.unit_name for unit in self.report.units if unit.unit_code in owed]
            yield Text(f"Cơ quan có số liệu khác với Cổng quá mức cho phép: {some(names)}.")

    # -- basis ----------------------------------------------------------------------------------------------------

    def basis(self) -> Iterable[Block]:
        header = self.report.header
        signed = header.signed_at and f"{header.signed_by}, {words.moment(header.signed_at.astimezone(ZONE))}"
        seen = ", ".join(header.warnings_seen or ()) or "không có"
        facts = (
            ("Quy định áp dụng", f"{header.legal_basis or words.NONE} (bộ tham số {header.policy_id})"),
            (
                "Kỳ đánh giá",
                f"Từ ngày {words.day(header.period_start)} đến hết ngày {words.day(header.last_day)} "
                f"({words.CALENDARS.get(header.calendar_code, header.calendar_code)})",
            ),
            ("Chốt số liệu", f"{words.moment(header.cutoff_at)}; đợt nạp đến số {header.as_of_batch}"),
            ("Cách tính của Cổng", f"Phiên bản {header.metric_version or words.NONE}"),
            (
                "Ấn bản",
                f"{header.edition_id}" + (f", thay {header.supersedes}" if header.supersedes else ", công bố lần đầu"),
            ),
            ("Người đề nghị", header.requested_by),
            ("Người ký duyệt", signed or words.NONE),
            ("Công bố", f"{header.published_by}, {words.moment(header.published_at.astimezone(ZONE))}"),
            (
                "Kiểm tra chất lượng",
                f"Lần kiểm tra {header.gate_run_id} (data_docs/{header.gate_run_id}/index.html); "
                f"cảnh báo người ký đã xem: {seen}",
            ),
            ("Bộ quy tắc, chương trình", f"{header.rules_sha256[:16]}…, phiên bản {header.code_version}"),
            ("Mã kiểm tra nội dung", f"SHA-256 {header.content_sha256}"),
        )
        yield table((Column("Nội dung", 25), Column("Căn cứ", 75)), facts)

    # -- appendices -----------------------------------------------------------------------------------------------

    def ranking(self) -> Iterable[Block]:
        columns = (
            Column("Hạng", 8, "center"), Column("Cơ quan", 27), *(Column(i, 9, "center") for i in "ABC"),
            Column("D", 8, "center"), Column("E", 5, "center"), Column("K", 9, "center"), Column("Xếp loại", 13, "center"),
            Column("Lưu ý", 20),
        )  # fmt: skip
        for group in self.report.groups:
            yield Text(f"{group.name} ({len(group.units)} cơ quan)", "head")
            yield table(columns, [self._rank_row(unit) for unit in group.units])
        yield Text(
            "Bằng K (2 chữ số) thì cùng hạng. “—”: không có số liệu, không phải là 0. “PAKN”: phản ánh, kiến nghị. “Mẫu nhỏ”: "
            "thêm hoặc bớt một PAKN có thể đổi xếp loại.",
            "note",
        )

    def _rank_row(self, unit: Unit) -> list[str | Cell]:
        conclusion = self.say.verdict(unit.verdict) or self.say.conclusion(unit)
        return [
            words.NONE if unit.rank_in_group is None else str(unit.rank_in_group),
            unit.unit_name,
            *(figure(value, 4) for value in (unit.a, unit.b, unit.c)),
            figure(unit.d),
            figure(unit.e, 0),
            self.say.k(unit.k),
            Cell(conclusion, TONES.get(unit.verdict or unit.verdict_bound or "", "")),
            self.say.flags(unit),
        ]

    def parameters(self) -> Iterable[Block]:
        yield Text(
            "Chỗ nào quy định không nêu hoặc hiểu được nhiều cách thì lựa chọn được nêu ở đây cùng lý do.", "note"
        )
        yield table(
            (
                Column("Dùng cho", 9, "center"),
                Column("Tham số", 24),
                Column("Giá trị", 14, "center"),
                Column("Vì sao", 53),
            ),
            [
                [words.parameter_group(p.parameter) or "Chung", p.parameter, p.value, p.why]
                for p in sorted(self.report.parameters, key=lambda p: words.parameter_group(p.parameter) or "Z")
            ],
        )

    def absent(self, annex: str) -> Text:
        """Why an annex says nothing. It never says nought."""
        return Text(self.say.absent(annex), "note")


# Records that an index counts: a dossier that was received is counted with its result.
SCORED = ("dossier_resolved", "rating", "petition")
EFFECT_COLUMNS = (
    Column("Kỳ", 9), Column("Cơ quan", 23), Column("Chỉ số khác", 10, "center"), Column("K đã công bố", 10, "center"),
    Column("K hiện nay", 10, "center"), Column("Xếp loại đã công bố", 19), Column("Xếp loại hiện nay", 19),
)  # fmt: skip
STATES = (*(words.VERDICTS[verdict] for verdict in VERDICTS), "Chưa đủ chỉ số", "Không áp dụng")
FLOW_COLUMNS = (
    Column("Cơ quan", 24),
    *(
        Column(title, 8.4, "right")
        for title in (
            "Tồn đầu kỳ", "Tiếp nhận", "Giải quyết", "Dừng xử lý", "Rút", "Không tiếp nhận", "Không rõ thời điểm",
            "Tồn cuối kỳ", "Quá hạn",
        )
    ),
)  # fmt: skip
PETITION_COLUMNS = (
    Column("Cơ quan", 28),
    *(
        Column(title, 12, "right")
        for title in ("Tiếp nhận", "Đã tính", "Đúng hạn", "Được hài lòng", "Quá hạn chưa trả lời", "Chưa đến hạn")
    ),
)
PETITIONS = ("received", "counted", "in_time", "satisfied", "unanswered", "not_yet_due")


def _flow_row(name: str, rows: Sequence[Row]) -> list[str]:
    return [name, *(words.count(total(rows, column)) for column in (*FLOW, "open_overdue"))]


def _petition_row(name: str, rows: Sequence[Row]) -> list[str]:
    return [name, *(words.count(total(rows, column)) for column in PETITIONS)]


def _sides(name: str, rows: Sequence[Row]) -> list[str]:
    city, portal = total(rows, "city_count"), total(rows, "portal_count")
    apart = words.NONE if city is None or portal is None else words.signed(Decimal(city - portal), 0)
    return [name, words.count(city), words.count(portal), apart]


def _lateness(name: str, rows: Sequence[Row]) -> list[str]:
    """Records of a kind: all, loaded on their day, loaded later, and the latest; days that are not known split nothing."""
    in_time, later = ([row for row in rows if ((row["days_late"] or 0) > 0) == late] for late in (False, True))
    known = all(row["days_late"] is not None for row in rows)
    return [
        name,
        words.count(total(rows, "record_count")),
        *(words.count(total(part, "record_count") if known else None) for part in (in_time, later)),
        words.count(largest(rows, "days_late")),
    ]


def _unknown(rows: Sequence[Row], column: str) -> bool:
    return any(row[column] is None for row in rows)


def _periods(codes: Sequence[str]) -> str:
    return ", ".join(words.lower_first(words.period_name(code)) for code in codes)


def largest(rows: Sequence[Row], column: str) -> Any:
    """The largest value; None when one is not known, or there is none."""
    values = [row[column] for row in rows]
    return None if any(value is None for value in values) else max(values, default=None)


def total(rows: Sequence[Row], column: str) -> int | None:
    """A sum; None when a part of it is not known."""
    values = [row[column] for row in rows]
    return None if any(value is None for value in values) else sum(values)


def _ties(units: Sequence[Unit]) -> list[list[Unit]]:
    found: dict[int | None, list[Unit]] = defaultdict(list)
    for unit in units:
        found[unit.rank_in_group].append(unit)
    return list(found.values())


def _most(moves: Sequence[Move], sign: int) -> list[Move]:
    """The largest changes of a sign, and all that tie with the last one taken."""
    ordered = sorted(moves, key=lambda move: (-sign * move.change, move.unit_code))
    if len(ordered) <= BEST:
        return ordered
    last = sign * ordered[BEST - 1].change
    return [move for move in ordered if sign * move.change >= last]


def _differences(before: Unit, now: Unit) -> dict[str, Decimal]:
    """Indices that differ between two editions, and by how much."""
    was = before.values
    pairs = ((index, value, was[index]) for index, value in now.values.items())
    return {index: value - old for index, value, old in pairs if value is not None and old is not None and value != old}


def _largest(parts: Mapping[str, Decimal]) -> str:
    if not parts:
        return words.NONE
    index, change = max(parts.items(), key=lambda part: (abs(part[1]), part[0]))
    return f"{index}: {words.signed(change, 2 if index == 'D' else 4)}"


def _tally(found: Counter[str | None], names: dict[str, str]) -> str:
    return "; ".join(
        f"{number} cơ quan {names.get(code or '', code or words.NONE)}"
        for code, number in sorted(found.items(), key=lambda item: (-item[1], item[0] or ""))
    )


def some(names: Sequence[str]) -> str:
    """The names of a few; of many their number, because they stand in the annexes."""
    return "; ".join(names) if len(names) <= NAMED else f"{len(names)} cơ quan (xem phụ lục XLSX)"


def figure(value: Decimal | None, places: int = 2) -> str:
    """A number, or a dash: what is missing is never nought."""
    return words.NONE if value is None else words.number(value, places)


def iso_day(value: str | None) -> str:
    """A day of an annex as papers write it; a dash for none."""
    return words.NONE if value is None else words.day(date.fromisoformat(value[:10]))


def _yes_no(value: bool | None) -> str:
    return words.NONE if value is None else "Có" if value else "Không"


def _roman(number: int) -> str:
    tens, ones = divmod(number, 10)
    return "X" * tens + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[ones]
