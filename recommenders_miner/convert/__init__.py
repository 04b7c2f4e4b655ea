"""Other data sets, and logs of one's own, as data folders in MIND's form: news.tsv and behaviors.tsv."""

from recommenders_miner.convert.adressa import convert_adressa
from recommenders_miner.convert.conversion import Conversion
from recommenders_miner.convert.ebnerd import convert_ebnerd
from recommenders_miner.convert.negatives import Negatives
from recommenders_miner.convert.own_logs import convert_own_logs
from recommenders_miner.convert.xmind import convert_xmind

__all__ = ["Conversion", "Negatives", "convert_adressa", "convert_ebnerd", "convert_own_logs", "convert_xmind"]
