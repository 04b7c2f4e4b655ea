"""The store of a service in Redis or Valkey, for several machines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

import redis

from recommenders_miner.serving.events import COUNTED_HOURS, DAY, Counted, Event, Store, StoreError, this_hour

_PREFIX = "recommenders-miner:"
_RECORD = """
local prefix, keep_showings, are_new = ARGV[1], ARGV[5] ~= '', {}
for place = 6, #ARGV, 6 do
  local id, user, article, type, time, hour = unpack(ARGV, place, place + 5)
  local is_new = redis.call('SET', prefix .. 'seen:' .. id, '', 'NX', 'EX', ARGV[2])
  table.insert(are_new, is_new and 1 or 0)
  if is_new then
    local counts = prefix .. type .. ':' .. hour
    redis.call('HINCRBY', counts, article, 1)
    redis.call('EXPIRE', counts, ARGV[3] * 3600)
    if keep_showings and type == 'shown' then
      local showings = prefix .. 'showings:' .. math.floor(hour / ARGV[3]) .. ':' .. user
      redis.call('HINCRBY', showings, article, 1)
      redis.call('EXPIRE', showings, 2 * ARGV[3] * 3600)
    elseif keep_showings then
      for month = ARGV[5] - 1, ARGV[5] + 1 do
        redis.call('HDEL', prefix .. 'showings:' .. month .. ':' .. user, article)
      end
    end
    if type == 'click' then
      local history, arrival = prefix .. 'history:' .. user, redis.call('INCR', prefix .. 'arrivals')
      redis.call('ZADD', history, time, string.format('%016x', arrival) .. article)
      redis.call('ZREMRANGEBYRANK', history, 0, -1 - ARGV[4])
    end
  end
end
return are_new
"""
_ARRIVAL_DIGITS = 16  # in front of each article, which put clicks of one second into the order of their arrival
_PUT = """
local number = redis.call('INCR', ARGV[1] .. 'changes')
redis.call('ZADD', ARGV[1] .. 'changed', number, ARGV[2])
redis.call('HSET', ARGV[1] .. 'articles', ARGV[2], ARGV[3])
return number
"""


class RedisStore(Store):
    """A store in a Redis or Valkey server, not a cluster of them.

    A click that was recorded is as durable as the server's `appendfsync` says: with `appendonly yes` and `appendfsync
    always` it outlives a kill of the server and a power cut; with `everysec` a second may be lost; without
    `appendonly`, all since the last snapshot. What was forgotten leaves the append-only file when that is rewritten.
    """

    _errors = (redis.RedisError,)
    _remedy = "Is the server running?"

    def __init__(self, url: str, kept: int, remembered: float) -> None:
        host = urlsplit(url).netloc.rpartition("@")[2]  # messages name no password
        super().__init__(urlsplit(url)._replace(netloc=host).geturl(), kept, remembered)
        try:
            self._client = redis.Redis.from_url(url, decode_responses=True, socket_timeout=5, socket_connect_timeout=5)
        except ValueError as error:
            raise StoreError(f"{self.name}: not of the form redis://host:port/db ({error}).") from None
        self._record, self._put_script = map(self._client.register_script, (_RECORD, _PUT))
        self.ping()

    def record(self, events: Sequence[Event], keep_showings: bool = False) -> list[bool]:
        """See `Store`."""
        month = this_hour() // COUNTED_HOURS if keep_showings else ""
        arguments = [_PREFIX, max(1, math.ceil(self.remembered * DAY)), COUNTED_HOURS, self.kept, month]
        for event in events:
            arguments += [event.digest, event.user, event.article, event.type, event.time, event.hour]
        with self._told():
            return [is_new == 1 for is_new in self._record(args=arguments)]

    def history(self, user: str, limit: int) -> list[tuple[str, int]]:
        """See `Store`."""
        with self._told():
            clicks = self._client.zrange(f"{_PREFIX}history:{user}", -limit, -1, withscores=True)
        return [(member[_ARRIVAL_DIGITS:], int(time)) for member, time in clicks]

    def showings(self, user: str) -> dict[str, int]:
        """See `Store`; counted are those of this month of 31 days and the last one."""
        pipeline = self._client.pipeline(transaction=False)
        for key in _showings(user):
            pipeline.hgetall(key)
        with self._told():
            months = pipeline.execute()
        total: Counter[str] = Counter()
        for counts in months:
            total.update({article: int(times) for article, times in counts.items()})
        return dict(total)

    def forget(self, user: str) -> int:
        """See `Store`."""
        key = f"{_PREFIX}history:{user}"
        with self._told():
            return self._client.pipeline().zcard(key).delete(key, *_showings(user)).execute()[0]

    def _counts(self, first_hour: int) -> list[Counted]:
        clicks, showings, pipeline = Counter(), Counter(), self._client.pipeline(transaction=False)
        for hour in range(first_hour, this_hour() + 2):  # the clock of a client may be ahead
            pipeline.hgetall(f"{_PREFIX}click:{hour}").hgetall(f"{_PREFIX}shown:{hour}")
        with self._told():
            hashes = pipeline.execute()
        for place, counts in enumerate(hashes):
            (showings if place % 2 else clicks).update({id: int(count) for id, count in counts.items()})
        return [(id, clicks[id], showings[id]) for id in clicks.keys() | showings.keys()]

    def _put(self, id: str, text: str) -> int:
        with self._told():
            return self._put_script(args=[_PREFIX, id, text])

    def _changes(self, number: int) -> list[tuple[int, str, str]]:
        with self._told():
            changed = self._client.zrangebyscore(f"{_PREFIX}changed", f"({number}", "+inf", withscores=True)
            # A change between the two calls comes under an older number, and after the next call again.
            texts = self._client.hmget(f"{_PREFIX}articles", [id for id, _ in changed]) if changed else []
        return [(int(change), id, text) for (id, change), text in zip(changed, texts, strict=True)]

    def ping(self) -> None:
        """See `Store`."""
        with self._told():
            self._client.ping()

    def close(self) -> None:
        """See `Store`."""
        self._client.close()


def _showings(user: str) -> list[str]:
    """Return the keys of a user's showings; the clock of a client may be ahead."""
    month = this_hour() // COUNTED_HOURS
    return [f"{_PREFIX}showings:{one}:{user}" for one in (month - 1, month, month + 1)]
