"""News encoders that two papers share: from the features of an article to its vector."""

from recommenders_miner.encoders.base import NewsEncoder, build_encoder, news_encoder
from recommenders_miner.encoders.initial_vectors import InitialVectors, random_vectors
from recommenders_miner.encoders.joined import JoinedEncoder
from recommenders_miner.encoders.news_encoders import (
    CategoryEncoder,
    CategoryHParams,
    CNNEncoder,
    ConcatenatedEncoder,
    ConvolutionHParams,
    EntityHParams,
    KnowledgeEncoder,
    KnowledgeHParams,
    SelfAttentionEncoder,
    SelfAttentionHParams,
    TokenVectors,
    VectorEncoder,
    word_convolution,
    word_vectors,
)
from recommenders_miner.encoders.plm_encoder import PLMEncoder

__all__ = [
    "CNNEncoder",
    "CategoryEncoder",
    "CategoryHParams",
    "ConcatenatedEncoder",
    "ConvolutionHParams",
    "EntityHParams",
    "InitialVectors",
    "JoinedEncoder",
    "KnowledgeEncoder",
    "KnowledgeHParams",
    "NewsEncoder",
    "PLMEncoder",
    "SelfAttentionEncoder",
    "SelfAttentionHParams",
    "TokenVectors",
    "VectorEncoder",
    "build_encoder",
    "news_encoder",
    "random_vectors",
    "word_convolution",
    "word_vectors",
]
