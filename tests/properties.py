"""How many examples Hypothesis draws: the profile's number, or a multiple of it."""

from hypothesis import settings

CI_EXAMPLES, NIGHTLY_EXAMPLES = 20, 500
FEWEST = 5


def register_profiles() -> None:
    """``ci``, the default, draws the same examples in every run, so that a failure is due to a change;
    ``nightly`` (`--hypothesis-profile=nightly`) draws new ones. Examples have no deadline, in either."""
    ci = settings(settings.get_profile("ci"), max_examples=CI_EXAMPLES, print_blob=True)
    settings.register_profile("ci", ci)
    settings.register_profile("nightly", ci, max_examples=NIGHTLY_EXAMPLES, derandomize=False)
    settings.load_profile("ci")


def examples(times: float) -> settings:
    """Settings with so many times the profile's examples: below 1 for a property whose examples are slow."""
    return settings(max_examples=max(FEWEST, round(times * settings().max_examples)))
