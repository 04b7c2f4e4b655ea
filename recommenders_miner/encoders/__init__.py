"""News encoders: from the features of a news to its vector."""

from recommenders_miner.encoders.category_encoder import CategoryEncoder
from recommenders_miner.encoders.cnn_encoder import CNNTitleEncoder
from recommenders_miner.encoders.concatenated_encoder import ConcatenatedEncoder
from recommenders_miner.encoders.knowledge_encoder import KnowledgeEncoder
from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.plm_encoder import PLMEncoder
from recommenders_miner.encoders.self_attention_encoder import SelfAttentionEncoder
from recommenders_miner.encoders.token_vectors import TokenVectors

__all__ = [
    "CNNTitleEncoder",
    "CategoryEncoder",
    "ConcatenatedEncoder",
    "KnowledgeEncoder",
    "NewsEncoder",
    "PLMEncoder",
    "SelfAttentionEncoder",
    "TokenVectors",
]
