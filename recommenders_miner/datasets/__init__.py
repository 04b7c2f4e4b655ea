"""Other data sets, and logs of one's own, as data folders in MIND's form: news.tsv and behaviors.tsv."""

from recommenders_miner.datasets.adressa import convert_adressa
from recommenders_miner.datasets.conversion import Conversion
from recommenders_miner.datasets.ebnerd import convert_ebnerd
from recommenders_miner.datasets.negatives import Negatives
from recommenders_miner.datasets.own import convert_own_logs
from recommenders_miner.datasets.xmind import convert_xmind

__all__ = ["Conversion", "Negatives", "convert_adressa", "convert_ebnerd", "convert_own_logs", "convert_xmind"]
