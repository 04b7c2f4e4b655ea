"""What the tests of the command line share: ways to run it, and options that make a training take a second."""

from typer.testing import CliRunner, Result

from recommenders_miner.cli import app

SMALL = "word_emb_dim=8 head_num=2 head_dim=4 attention_hidden_dim=8 num_interests=2 code_dim=4 batch_size=64 epochs=1"
WORDS = "news_encoder=self_attention word_embedding=null category_embedding=learned length_groups=1"
OPTIONS = [word for option in (*SMALL.split(), *WORDS.split()) for word in ("-o", option)]


def invoke(*arguments: object, **options: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def run(*arguments: object) -> str:
    result = invoke(*arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
