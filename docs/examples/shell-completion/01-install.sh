optagent --install-completion bash     # or zsh, fish, powershell; without a name: the shell that is running
