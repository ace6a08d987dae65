"""Give the model a Python function, and let it call it until it has an answer.

python examples/tool_loop.py ["What's the weather in Paris?"]
"""

import sys

from ossia import LLM, SamplingParams


def get_weather(city: str) -> dict[str, object]:
    """Get the weather.

    Args:
        city: The city.
    """
    return {"city": city, "sky": "clear", "temperature": 19}


def main(question: str) -> None:
    """Ask, and show every step that led to the answer."""
    model = LLM("demo")  # or "openai/gpt-oss-20b"
    (output,) = model.chat(
        [{"role": "user", "content": question}],
        SamplingParams(temperature=0, max_tokens=300),
        tools=[get_weather],
        use_tqdm=False,
    )
    reply = output.outputs[0].reply
    for call, result in zip(reply.tool_calls, reply.tool_results, strict=True):
        print(f"{call.name}({call.arguments}) gave {result.output}")
    print(reply.content)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "What's the weather in Paris?")
