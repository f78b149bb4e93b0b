"""What the report of a quarter or a year says beyond a month's (Articles 10, 12.2, 13)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from statistics import median

from hailong.periods import code_before
from hailong.publish.report import words
from hailong.publish.report.content import TONES, Monthly, figure, iso_day, largest, some, total
from hailong.publish.report.data import ZONE, Row, Unit
from hailong.publish.report.paper import Block, Cell, Column, Text, table
from hailong.publish.report.phrases import VERDICTS

DOTS = "." * 110


class Quarterly(Monthly):
    """The sections of a quarter's or a year's report: a month's, and what Article 12.2 asks for beyond it."""

    def sections(self) -> Iterable[tuple[str, Iterable[Block]]]:
        names = [name for name, _ in super().sections()]
        for name, blocks in super().sections():
            if name == names[-1]:
                yield from self.beyond()
            yield name, blocks

    def beyond(self) -> Iterable[tuple[str, Iterable[Block]]]:
        yield "PHÂN LOẠI CƠ QUAN", self.classes()
        yield "NGUYÊN NHÂN", self.reasons()
        yield (
            f"KẾT QUẢ KHẮC PHỤC, CHẤN CHỈNH {words.of_period(self.remedied()).upper()} VÀ VIỆC CÒN DỞ",
            self.remedies(),
        )
        yield "ĐƠN VỊ TRỰC THUỘC; CÁN BỘ, CÔNG CHỨC", self.within_units()
        yield "DANH SÁCH THEO DÕI", self.watched()
        yield "ĐÁNH GIÁ NỘI BỘ, CỦA CƠ QUAN CÓ THẨM QUYỀN, TỰ ĐÁNH GIÁ VÀ CỦA CÁC TỔ CHỨC", self.evaluations()
        yield "SÁU NHÓM CHỈ SỐ CỦA CỔNG DỊCH VỤ CÔNG QUỐC GIA", self.portal_groups()
        if self.report.header.kind == "year":
            yield "BÀN GIAO PHỤC VỤ CHỈ SỐ CẢI CÁCH HÀNH CHÍNH", self.handover()
        yield "GIẢI PHÁP; ĐỀ XUẤT KHEN THƯỞNG, KỶ LUẬT", self.proposals()
        yield "CÔNG KHAI KẾT QUẢ", self.publication()

    def appendices(self) -> Iterable[tuple[str, Iterable[Block]]]:
        *first, last = super().appendices()
        yield from first
        yield "Kết quả của đơn vị trực thuộc từng cơ quan", self.sub_units()
        yield "Danh sách theo dõi theo cơ quan", self.watched_of_units()
        if self.report.header.kind == "year":
            yield "Kết quả đánh giá của cơ quan có thẩm quyền và của các tổ chức", self.evaluations_of_units()
        yield last

    # -- classes, reasons, remedies -------------------------------------------------------------------------------

    def classes(self) -> Iterable[Block]:
        rows: list[list[str | Cell]] = []
        for group in self.report.groups:
            for verdict in VERDICTS:
                rows += self._class(group.name, verdict, [u for u in group.units if u.verdict == verdict])
            rows += self._class(group.name, None, [u for u in group.units if u.status == "incomplete"])
        yield table(
            (Column("Nhóm", 18), Column("Xếp loại", 16), Column("Số", 7, "center"), Column("Cơ quan", 59)), rows
        )
        yield Text("Danh sách đầy đủ kèm điểm ở phụ lục “Kết quả của từng cơ quan”.", "note")

    def _class(self, group: str, verdict: str | None, units: Sequence[Unit]) -> list[list[str | Cell]]:
        if not units:
            return []
        name = self.say.verdict(verdict) or "Chưa đủ chỉ số"
        told = "Các cơ quan còn lại của nhóm" if verdict == "satisfied" else "; ".join(u.unit_name for u in units)
        return [[group, Cell(name, TONES.get(verdict or "", "open")), str(len(units)), told]]

    def reasons(self) -> Iterable[Block]:
        lost: dict[str, list[Decimal]] = defaultdict(list)
        for unit in self.report.units:
            if unit.verdict == "not_satisfied":
                found = self.say.lost(unit)
                if found is not None:
                    lost[found[1]].append(found[0])
        failed = any(unit.verdict == "not_satisfied" for unit in self.report.units)
        if lost:
            yield Text("Các cơ quan xếp loại không hài lòng mất điểm nhiều nhất ở:")
            yield table(
                (Column("Chỉ số", 50), Column("Số cơ quan", 20, "center"), Column("Điểm mất trung vị", 30, "center")),
                [
                    [f"{index}. {words.INDEX_NAMES[index]}", str(len(points)), words.number(Decimal(median(points)))]
                    for index, points in sorted(lost.items())
                ],
            )
        elif not failed:
            yield Text("Không cơ quan nào xếp loại không hài lòng.")
        rows = self.report.annex("explanation_owed")
        if not rows:
            yield self.absent("explanation_owed")
            return
        causes = Counter(row["cause_code"] or words.NONE for row in rows if row["explanation_id"] is not None)
        if causes:
            told = "; ".join(
                f"{words.named(words.TOLD_CAUSES, code)}: {number}"
                for code, number in sorted(causes.items(), key=lambda c: (-c[1], c[0]))
            )
            yield Text(f"Nguyên nhân theo giải trình của các cơ quan (kèm số nội dung): {told}.")
        else:
            yield Text("Chưa có giải trình nào của các cơ quan về kỳ này, nên chưa có nguyên nhân do cơ quan nêu.")

    def remedies(self) -> Iterable[Block]:
        every = self.report.annex("action")
        if not every:
            yield self.absent("action")
            return
        period = self.remedied()
        unlinked = sum(row["period_code"] is None and row["state"] == "done" for row in every)
        rows = [row for row in every if row["state"] != "done" or words.is_within(row["period_code"], period)]
        yield Text(
            f"Biện pháp đã cam kết khi giải trình về {words.lower_first(words.period_name(period))}, và biện pháp của mọi kỳ "
            "còn chưa thực hiện."
            + (f" {unlinked} biện pháp đã thực hiện không rõ của kỳ nào, không có trong bảng." if unlinked else ""),
        )
        if not rows:
            yield Text("Không có biện pháp nào thuộc diện này.")
            return
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            found[row["remedy_code"] or words.NONE][row["state"]] += 1
        yield table(
            (
                Column("Biện pháp", 30),
                *(Column(name, 14, "center") for name in words.ACTION_STATES.values()),
                Column("Tổng", 10, "center"),
            ),
            [
                [
                    words.named(words.REMEDIES, remedy),
                    *(str(states[state]) for state in words.ACTION_STATES),
                    str(sum(states.values())),
                ]
                for remedy, states in sorted(found.items())
            ],
        )  # fmt: skip
        overdue = self.say.in_order([row for row in rows if row["state"] == "overdue"])
        if overdue:
            yield Text("Biện pháp quá hạn, chưa thực hiện", "item")
            yield table(
                (
                    Column("Cơ quan", 44),
                    Column("Biện pháp", 26),
                    Column("Hạn", 15, "center"),
                    Column("Kỳ", 15, "center"),
                ),
                [
                    [
                        self.say.name(row["unit_code"]),
                        words.named(words.REMEDIES, row["remedy_code"]) or words.NONE,
                        iso_day(row["due_on"]),
                        row["period_code"] or words.NONE,
                    ]
                    for row in overdue
                ],
            )
        until = iso_day(largest(rows, "as_of_on"))
        bare = words.count(total(rows, "is_without_evidence"))
        yield Text(f"Tính đến ngày {until}. {bare} biện pháp đã thực hiện chưa có số minh chứng.", "note")

    def remedied(self) -> str:
        """The period whose remedies are told (Article 12.2): of a quarter the one before, of a year the year itself."""
        code = self.report.header.period_code
        return code_before(code) if self.report.header.kind == "quarter" else code

    # -- within the units -----------------------------------------------------------------------------------------

    def within_units(self) -> Iterable[Block]:
        """Sub-units, and where the head finds the officials: they are in no paper that anybody else reads."""
        rows = self.report.annex("sub_unit")
        if rows:
            heads = {row["unit_code"] for row in rows}
            yield Text(
                f"{len(heads)} cơ quan có {len(rows)} đơn vị trực thuộc được chấm điểm (Điều 8 khoản 2, Điều 16 khoản 4); "
                "kết quả của từng đơn vị, theo từng cơ quan, ở phụ lục."
            )
        else:
            yield self.absent("sub_unit")
        yield Text(
            "Kết quả của từng cán bộ, công chức không có trong báo cáo này, không công khai và không gửi cơ quan khác. Thủ "
            "trưởng mỗi cơ quan được nhận một tệp riêng của cơ quan mình, theo mã thay tên, do người được Văn phòng Ủy ban "
            "nhân dân Thành phố giao quyền lập khi thủ trưởng đề nghị."
        )

    def sub_units(self) -> Iterable[Block]:
        """For each head its sub-units. A head may not see a C of few ratings (Article 3.4), so his part does not show it."""
        by_head: dict[str, list[Row]] = defaultdict(list)
        for row in self.say.in_order(self.report.annex("sub_unit")):
            by_head[row["unit_code"]].append(row)
        if not by_head:
            yield self.absent("sub_unit")
            return
        for head, rows in by_head.items():
            yield Text(f"{self.say.name(head)} ({len(rows)} đơn vị trực thuộc)", "head")
            yield table(
                (
                    Column("Đơn vị trực thuộc", 26), Column("Hồ sơ đã giải quyết", 12, "right"), Column("A", 9, "center"),
                    Column("B", 9, "center"), Column("Lượt đánh giá", 11, "right"), Column("C", 9, "center"),
                    Column("K", 8, "center"), Column("Lưu ý", 16),
                ),
                [self._sub_unit(row) for row in sorted(rows, key=lambda row: row["sub_unit_code"])],
            )  # fmt: skip
        yield Text(
            f"Đơn vị trực thuộc chỉ chấm A, B, C nên thường không có K. “*”: dưới {self.report.parameter('c_min_ratings')} lượt "
            "đánh giá, không nêu (Điều 3 khoản 4). “—”: không có giá trị, không phải là 0.",
            "note",
        )

    def _sub_unit(self, row: Row) -> list[str | Cell]:
        few = self.say.is_few(row["c_ratings"])
        flags = {
            words.reason(row[f"{index}_reason"])
            for index in "abc"
            if row[index] is None and row[f"{index}_reason"] is not None
        }
        flags.add(words.listed(words.clipped(row["window_clipped"])))
        return [
            row["sub_unit_name"],
            words.count(row["a_dossiers"]),
            figure(row["a"], 4),
            figure(row["b"], 4),
            "*" if few else words.count(row["c_ratings"]),
            "*" if few else figure(row["c"], 4),
            "*" if few and row["k"] is not None else self.say.k(row["k"]),
            words.listed(sorted(flags)),
        ]

    # -- watch-lists, evaluations ---------------------------------------------------------------------------------

    def watched(self) -> Iterable[Block]:
        rows = self.report.annex("watch_list")
        if not rows:
            yield self.absent("watch_list")
            return
        yield Text(
            "Việc đang dở mà thủ trưởng cơ quan cần xem, tính đến ngày "
            f"{iso_day(largest(rows, 'as_of_on'))} (Điều 11 khoản 2). Số của từng cơ quan ở phụ lục; từng hồ sơ, "
            "phản ánh ở phụ lục XLSX."
        )
        lines = [
            (group.name, [row for row in rows if row["unit_code"] in {u.unit_code for u in group.units}])
            for group in self.report.groups
        ]
        yield table(
            WATCH_COLUMNS,
            [_watch_row(name, of) for name, of in (*lines, ("Toàn Thành phố", list(rows))) if of],
            totals=1,
        )

    def watched_of_units(self) -> Iterable[Block]:
        by_unit: dict[str, list[Row]] = defaultdict(list)
        for row in self.say.in_order(self.report.annex("watch_list")):
            by_unit[row["unit_code"]].append(row)
        if not by_unit:
            yield self.absent("watch_list")
            return
        yield table(WATCH_COLUMNS, [_watch_row(self.say.name(code), of) for code, of in by_unit.items()])

    def evaluations(self) -> Iterable[Block]:
        rows = self.report.annex("evaluation")
        if not rows:
            yield self.absent("evaluation")
            return
        lines = []
        for kind, name in words.EVALUATORS.items():
            of = [row for row in rows if row["evaluator_kind"] == kind]
            due = [row for row in of if row["is_due"]]
            shares = sorted(row["share"] for row in of if row["status"] == "scored" and row["share"] is not None)
            lines.append(
                [
                    name,
                    str(len(due)),
                    str(sum(row["status"] == "scored" for row in of)),
                    str(sum(row["status"] in ("awaiting_input", "no_data") for row in due)),
                    words.percent(Decimal(median(shares))) if shares else words.NONE,
                    words.percent(Decimal(shares[0])) if shares else words.NONE,
                ]
            )
        yield table(
            (
                Column("Loại đánh giá", 34), Column("Cơ quan đến hạn", 13, "center"), Column("Có kết quả", 13, "center"),
                Column("Đến hạn, chưa có", 14, "center"), Column("Tỷ lệ điểm trung vị", 13, "center"),
                Column("Tỷ lệ điểm thấp nhất", 13, "center"),
            ),
            lines,
        )  # fmt: skip
        for kind, name in words.EVALUATORS.items():
            owing = [
                self.say.name(row["unit_code"])
                for row in self.say.in_order(rows)
                if row["evaluator_kind"] == kind and row["is_due"] and row["status"] in ("awaiting_input", "no_data")
            ]
            if owing:
                yield Text(f"{name}: đến hạn nhưng chưa có kết quả của {some(owing)}.")
        yield Text("Tỷ lệ điểm: điểm đạt được chia điểm tối đa. Chưa có kết quả không phải là 0 điểm.", "note")

    def evaluations_of_units(self) -> Iterable[Block]:
        rows = self.report.annex("evaluation")
        if not rows:
            yield self.absent("evaluation")
            return
        by_unit: dict[str, dict[str, Row]] = defaultdict(dict)
        for row in self.say.in_order(rows):
            by_unit[row["unit_code"]][row["evaluator_kind"]] = row
        yield table(
            (Column("Cơ quan", 36), *(Column(name, 16, "center") for name in words.EVALUATORS.values())),
            [
                [self.say.name(code), *(self._evaluated(kinds.get(kind)) for kind in words.EVALUATORS)]
                for code, kinds in by_unit.items()
            ],
        )
        yield Text(
            "“*”: có cuộc điều tra quá ít phiếu, chỉ Văn phòng Ủy ban nhân dân Thành phố được xem (Điều 3 khoản 4).",
            "note",
        )

    def _evaluated(self, row: Row | None) -> str:
        if row is None:
            return words.NONE
        if row["status"] != "scored":
            return words.named(words.EVALUATION_STATUSES, row["status"])
        share = words.NONE if row["share"] is None else words.percent(Decimal(row["share"]))
        return share + ("*" if row["is_small"] else "")

    def portal_groups(self) -> Iterable[Block]:
        rows = self.report.annex("portal_group")
        if not rows:
            yield self.absent("portal_group")
            return
        found: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
        of_kind = [row for row in rows if row["index_code"] and row["window_kind"] == self.report.header.kind]
        others = self._other_windows(of_kind)
        for row in of_kind:
            if (row["window_from"], row["window_to"]) not in others:
                found[row["index_code"], row["window_from"], row["window_to"], row["metric_version"]].append(row)
        lines = []
        order = list(words.PORTAL_GROUPS)
        for (code, since, until, version), of in sorted(
            found.items(),
            key=lambda item: (
                item[0][1] or "",
                order.index(item[0][0]) if item[0][0] in order else len(order),
                item[0][0],
                item[0][3] or "",
            ),
        ):
            scores = sorted(row["score"] for row in of if row["score"] is not None)
            lines.append(
                [
                    words.PORTAL_GROUPS.get(code, code),
                    f"{iso_day(since)} – {iso_day(until)}",
                    version or words.NONE,
                    f"{len(scores)}/{len(of)}",
                    figure(Decimal(median(scores))) if scores else words.NONE,
                    figure(max((row["max_score"] for row in of if row["max_score"] is not None), default=None)),
                ]
            )
        if not lines:
            yield self.absent("portal_group")
            return
        yield table(
            (
                Column("Nhóm", 28), Column("Khoảng thời gian của Cổng", 26, "center"), Column("Cách tính", 10, "center"),
                Column("Cơ quan có điểm", 12, "center"), Column("Điểm trung vị", 12, "center"), Column("Tối đa", 12, "center"),
            ),
            lines,
        )  # fmt: skip
        yield Text("Để tham khảo bên cạnh K, không tính vào K (Quyết định số 766/QĐ-TTg).", "note")

    def _other_windows(self, rows: Sequence[Row]) -> set[tuple[str, str]]:
        """Windows of the portal's calendar that touch the period less than another does: the workbook alone has them. The
        period's own, which D is taken from, is none of them.
        """
        header = self.report.header

        def shared(window: tuple[str, str]) -> timedelta:
            since, until = map(date.fromisoformat, window)
            return min(until + timedelta(days=1), header.period_end) - max(since, header.period_start)

        calendar = {(row["window_from"], row["window_to"]) for row in rows if row["period_code"] is None}
        dated = {window for window in calendar if None not in window}
        return dated - {max(sorted(dated), key=shared)} if dated else set()

    # -- the year, proposals, publication -------------------------------------------------------------------------

    def handover(self) -> Iterable[Block]:
        rows = self.report.annex("reform_index_handover")
        if not rows:
            yield self.absent("reform_index_handover")
            return
        scored = sum(row["k"] is not None for row in rows)
        known = all(row["quarters"] is not None and row["quarters_scored"] is not None for row in rows)
        whole = (
            sum(row["quarters"] > 0 and row["quarters_scored"] == row["quarters"] for row in rows) if known else None
        )
        yield Text(
            f"Bàn giao cho Sở Nội vụ kết quả của {len(rows)} cơ quan: {scored} có K của năm; {words.count(whole)} có K ở mọi "
            "quý đã hoạt động. K của năm tính trên khoảng thời gian của năm, không phải trung bình các quý. Tệp bàn giao "
            f"kèm ấn bản: {handover_name(self.report.header.edition_id)}."
        )
        over = {row["is_year_over"] for row in rows}
        if None in over:
            yield Text("Không rõ số liệu đã hết năm hay chưa.", "note")
        elif False in over:
            yield Text("Số liệu chưa hết năm: kết quả bàn giao là tạm tính.", "note")

    def proposals(self) -> Iterable[Block]:
        for number, title in enumerate(
            ("Giải pháp khắc phục tồn tại, bất cập", "Đề xuất khen thưởng", "Đề xuất kỷ luật, chấn chỉnh"), start=1
        ):
            yield Text(f"{number}. {title} (người có thẩm quyền ghi)", "head")
            yield Text(DOTS, "plain")
            yield Text(DOTS, "plain")

    def publication(self) -> Iterable[Block]:
        header = self.report.header
        places = (
            "Cổng thông tin điện tử Thành phố",
            "Hệ thống thông tin giải quyết thủ tục hành chính Thành phố",
            "Hệ thống bản đồ thể chế của Thành phố",
            "Cổng Dịch vụ công quốc gia",
            "Trụ sở và trang thông tin điện tử của từng cơ quan (phiếu niêm yết)",
        )
        yield Text(
            f"Ấn bản {header.edition_id}, công bố {words.moment(header.published_at.astimezone(ZONE))}, được công khai tại "
            f"các nơi sau (Điều 10). Mã kiểm tra nội dung SHA-256: {header.content_sha256}.",
            "plain",
        )
        yield table(
            (
                Column("Nơi công khai", 46), Column("Ngày, giờ", 18), Column("Người thực hiện", 20),
                Column("Đã đối chiếu mã", 16),
            ),
            [[place, "", "", ""] for place in places],
        )  # fmt: skip
        yield Text(
            "Bản công khai là phiếu niêm yết và dữ liệu mở của ấn bản. Báo cáo này có số liệu không được công khai "
            "(điểm thái độ từ quá ít lượt đánh giá, Điều 3 khoản 4), nên không đăng nguyên văn.",
            "note",
        )


WATCH_COLUMNS = (Column("Cơ quan", 40), *(Column(name, 15, "center") for name in words.WATCHED.values()))


def _watch_row(name: str, rows: Sequence[Row]) -> list[str]:
    return [name, *(str(sum(row["reason"] == reason for row in rows)) for reason in words.WATCHED)]


def handover_name(edition_id: str) -> str:
    return f"ban-giao-cchc_{edition_id}.xlsx"
