"""News encoders: from the features of a news to its vector."""

from recommenders_miner.encoders.category_encoder import CategoryEncoder
from recommenders_miner.encoders.cnn_encoder import CNNEncoder
from recommenders_miner.encoders.concatenated_encoder import ConcatenatedEncoder
from recommenders_miner.encoders.knowledge_cnn_encoder import KnowledgeCNNEncoder
from recommenders_miner.encoders.knowledge_encoder import KnowledgeEncoder
from recommenders_miner.encoders.multi_view_encoder import MultiViewEncoder
from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.personalized_encoder import PersonalizedEncoder
from recommenders_miner.encoders.pieces_encoder import PiecesEncoder
from recommenders_miner.encoders.plm_encoder import PLMEncoder
from recommenders_miner.encoders.self_attention_encoder import SelfAttentionEncoder
from recommenders_miner.encoders.tfidf_encoder import TfidfEncoder
from recommenders_miner.encoders.token_vectors import TokenVectors

__all__ = [
    "CNNEncoder",
    "CategoryEncoder",
    "ConcatenatedEncoder",
    "KnowledgeCNNEncoder",
    "KnowledgeEncoder",
    "MultiViewEncoder",
    "NewsEncoder",
    "PLMEncoder",
    "PersonalizedEncoder",
    "PiecesEncoder",
    "SelfAttentionEncoder",
    "TfidfEncoder",
    "TokenVectors",
]
