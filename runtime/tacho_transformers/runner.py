"""The library's step of a batch, with every row sampled by its own settings."""

from __future__ import annotations

from typing import Any

from tacho_transformers.sampling import Row, Sampler


def make_runner(processor: Any, sampler: Sampler, rows: dict[str, Row]) -> Any:
    """A model runner for ``processor`` (transformers' ContinuousBatchProcessor) in place of its own.

    ``rows`` maps a request to its row. Only what follows the forward pass is another: the scheduler, the
    paged cache and the forward pass stay the library's. It reads Python objects, so it runs without CUDA
    graphs.
    """
    from transformers.generation.continuous_batching.model_runner import ModelRunner

    class RowRunner(ModelRunner):  # type: ignore[misc]  # a base without types
        def _forward_process_and_sample(
            self, model: Any, batch_data: Any, _carry_over: Any, _previous: Any, output_ids: Any
        ) -> None:
            logits = model(**batch_data).logits
            if "logits_to_keep" not in batch_data:
                logits = logits[:, batch_data["logits_indices"], :]
            scores = logits[0].float()
            states = [
                future.state for future in self.inputs_and_outputs.requests_in_batch if future.has_new_token
            ]
            if not states:
                return
            # A request that was cancelled a moment ago has no row; its token is thrown away.
            tokens = sampler.choose([rows.get(state.request_id) for state in states], scores[: len(states)])
            output_ids[0, : len(tokens)] = output_ids.new_tensor(tokens)

    return RowRunner(
        logit_processor=processor.logit_processor,
        cb_config=processor.cb_config,
        cache=processor.cache,
        inputs_and_outputs=processor.inputs_and_outputs,
        do_sample=False,
        return_logprobs=False,
    )
