"""Who is told about the 25th, when, and in which words: the state of each period as messages in Vietnamese."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import msgspec
import yaml

from hailong.errors import HailongError, PermanentError
from hailong.notify import Delivery, Message, deliver, told
from hailong.publish.deadline import Blind, DeadlineState, DuePeriod
from hailong.settings import PROJECT, Settings

SCHEDULE = PROJECT / "expectations" / "escalation.yaml"
TOPIC = "deadline/"
WATCHER = f"{TOPIC}watcher"  # the topic of the watcher itself
CLOSING = (
    "Kỹ sư dữ liệu xem cách xử lý trong docs/runbook.md, mục “Mails about the 25th”. Thư được gửi tự động khi tình trạng "
    "thay đổi; tình trạng không đổi thì không gửi lại."
)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told, since when that is so, and why."""

    roles: tuple[str, ...]
    since: date
    why: str


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps by working days left until the due day, or late after the due moment."""

    cut_off: Step
    left: dict[int, Step]
    late: dict[int, Step]
    blind: Step

    def step(self, period: DuePeriod) -> tuple[str, Step]:
        """Name and roles of the step that an unpublished period has reached."""
        if period.state == "overdue":
            reached = max(days for days in self.late if days <= max(-period.working_days_left, 0))
            return f"late {reached}", self.late[reached]
        begun = [days for days in self.left if days >= period.working_days_left]
        return (f"left {min(begun)}", self.left[min(begun)]) if begun else ("cut_off", self.cut_off)


def read_schedule(path: Path = SCHEDULE) -> Schedule:
    """The schedule; PermanentError when it is not one: a step without reason and date, or a lateness that nobody is told of."""
    try:
        schedule = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Schedule)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise PermanentError(f"{path.name} cannot be read as an escalation schedule: {error}") from error
    steps = [schedule.cut_off, schedule.blind, *schedule.left.values(), *schedule.late.values()]
    if not all(step.roles and step.why.strip() for step in steps):
        raise PermanentError(f"{path.name}: every step needs roles and a why")
    if 0 not in schedule.late or min(*schedule.late, *schedule.left, 0) < 0:
        raise PermanentError(f"{path.name}: 'late' needs the step 0, and no step counts below it")
    return schedule


def notify(settings: Settings, state: DeadlineState, schedule: Schedule | None = None) -> list[Delivery]:
    """Tell everybody whose turn it is what is owed and what is missing; that it is published, those who were told it was not."""
    schedule = schedule or read_schedule()
    before = told(settings, TOPIC)
    messages = []
    if state.blind:
        messages.append(_blind(state.blind, schedule))
    elif roles := before.get(WATCHER):  # without this the next blindness would be the state that was told last
        messages.append(_sees(roles))
    for period in state.periods:
        if period.state != "published":
            messages.append(_unpublished(state, period, schedule))
        elif roles := before.get(TOPIC + period.period_code):
            messages.append(_published(period, roles))
    return [deliver(settings, message) for message in messages]


def notify_error(settings: Settings, error: Exception) -> list[Delivery]:
    """Tell that the watcher could not look at all. What the driver says of an error may quote rows, so only its kind is told."""
    text = str(error) if isinstance(error, HailongError) else type(error).__name__
    blind = Blind(
        type(error).__name__,
        text,
        f"Không xác định được kỳ nào đến hạn và kỳ nào đã công bố. Thông báo kỹ thuật: {text}",
    )
    return [deliver(settings, _blind(blind, read_schedule()))]


def _blind(blind: Blind, schedule: Schedule) -> Message:
    return Message(
        topic=WATCHER,
        state=blind.kind,
        subject="[Hài lòng] Không kiểm tra được hạn công bố",
        text=f"Chương trình theo dõi hạn công bố không làm việc được.\n\n{blind.vietnamese}\n\n{CLOSING}",
        roles=schedule.blind.roles,
    )


def _sees(roles: tuple[str, ...]) -> Message:
    return Message(
        topic=WATCHER,
        state="sees",
        subject="[Hài lòng] Đã kiểm tra lại được hạn công bố",
        text="Chương trình theo dõi hạn công bố đã làm việc trở lại bình thường.",
        roles=roles,
    )


def _published(period: DuePeriod, roles: tuple[str, ...]) -> Message:
    return Message(
        topic=f"{TOPIC}{period.period_code}",
        state="published",
        subject=f"[Hài lòng] Kỳ {period.period_code}: đã công bố",
        text=f"Kỳ {period.period} đã được công bố (bản {period.edition_id}). Không còn việc gì phải làm cho kỳ này.",
        roles=roles,
    )


def _unpublished(state: DeadlineState, period: DuePeriod, schedule: Schedule) -> Message:
    name, step = schedule.step(period)
    when = _when(state, period)
    lacks = "\n".join(f"{number}. {item.vietnamese}." for number, item in enumerate(period.missing, 1))
    # Article 15 speaks of the month; for quarters and years the calendar does likewise.
    law = "theo Điều 15 Quyết định số 104/2024/QĐ-UBND" if period.period.kind == "month" else "theo lịch công bố"
    text = (
        f"Kỳ {period.period} chưa được công bố: {when}.\n\n"
        f"Thời điểm chốt số liệu: {period.cutoff_at:%H:%M ngày %d/%m/%Y}.\n"
        f"Hạn công bố: {period.due_at:%H:%M ngày %d/%m/%Y}; {law} phải trước ngày "
        f"{period.hard_due_at:%d/%m/%Y}.\n\n"
        f"Còn thiếu:\n{lacks}\n\n{CLOSING}"
    )
    return Message(
        topic=f"{TOPIC}{period.period_code}",
        state=json.dumps([name, [item.key for item in period.missing]]),
        subject=f"[Hài lòng] Kỳ {period.period_code} chưa công bố: {when}",
        text=text,
        roles=step.roles,
    )


def _when(state: DeadlineState, period: DuePeriod) -> str:
    if period.state == "overdue":
        late = -period.working_days_left
        return f"đã quá hạn {late} ngày làm việc" if late > 0 else "đã quá hạn"
    if period.working_days_left > 0:
        return f"còn {period.working_days_left} ngày làm việc đến hạn"
    return f"đến hạn lúc {period.due_at:%H:%M} hôm nay" if state.now.date() == period.due_at.date() else "sắp đến hạn"
