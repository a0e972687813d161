"""The contract with the user: the types of `LLMDeployment`, its rules and its conditions."""
