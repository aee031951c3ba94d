"""Bot filter: events of floods and robots, found over all files, are left out and reported."""

from __future__ import annotations

from pipelines.ingest.canonical.ledger import Intake
from pipelines.settings.ingest import Abuse

MINUTE, DAY = 60_000_000, 86_400_000_000  # in microseconds

# All events of a robot are left out. Entropy is over its items: 0 bits if all of its events are of one item.
TOO_FAST = """
    select user_id, 'bot_rate' as reason, concat(max(n), ' events within a minute, expected at most {most}') as detail
    from (select user_id, count(*) as n from judged_events where instant is not null
          group by user_id, instant // {minute})
    group by user_id having max(n) > {most}
"""
TOO_UNIFORM = """
    select user_id, 'bot_entropy' as reason,
      concat(sum(n), ' events with an entropy of ', round(log2(sum(n)) - sum(n * log2(n)) / sum(n), 2),
             ' bits over items, expected at least {bits}') as detail
    from (select user_id, count(*) as n from judged_events group by user_id, item_id)
    group by user_id
    having sum(n) >= {events} and log2(sum(n)) - sum(n * log2(n)) / sum(n) < {bits}
"""
OF_ROBOTS = """
    select e.*, r.reason, r.detail from judged_events e
    join (select user_id, min(reason) as reason, arg_min(detail, reason) as detail from robots group by user_id) r
      on e.user_id = r.user_id
"""
# only the events of days over the cap are sorted
OVER_CAP = """
    select * exclude (place), 'over_daily_cap' as reason,
           'event beyond the first {cap} of the user on that day' as detail
    from (select e.*, row_number() over (
            partition by e.user_id, e.instant // {day} order by e.instant, e.file, e.seq) as place
          from judged_events e
          join (select user_id, instant // {day} as day from judged_events where instant is not null
                group by all having count(*) > {cap}) d on e.user_id = d.user_id and e.instant // {day} = d.day
          where e.user_id not in (select user_id from robots))
    where place > {cap}
"""


def leave_out(intake: Intake, limits: Abuse) -> bool:
    """Fill the table `left_out` (user_id, …, file, seq, reason, detail); return whether it has rows."""
    robots, queries = [], []
    if limits.max_per_minute is not None:
        robots.append(TOO_FAST.format(most=limits.max_per_minute, minute=MINUTE))
    if limits.min_entropy is not None:
        robots.append(TOO_UNIFORM.format(bits=limits.min_entropy, events=limits.entropy_from))
    none = "select null::varchar as user_id, '' as reason, '' as detail where false"
    intake.con.execute(f"create table robots as {' union all '.join([none, *robots])}")
    if robots:
        queries.append(OF_ROBOTS)
    if limits.max_per_day is not None:
        queries.append(OVER_CAP.format(cap=limits.max_per_day, day=DAY))
    if not queries:
        return False
    intake.con.execute(f"create table left_out as {' union all '.join(queries)}")
    return intake.count("select count(*) from left_out") > 0
