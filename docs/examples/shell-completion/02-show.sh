optagent --show-completion bash
