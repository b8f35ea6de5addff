import asyncio

from optagent import create_optimization_agent


async def main():
    agent = await create_optimization_agent()
    await agent.set_alias("churn", "champion", "2")  # by hand, without a rollout
    result = await agent.tune_hyperparameters("churn", trials=3, seed=1)
    gain = result.improvement
    print(f"holdout {result.holdout.estimate:.4f}, beside {result.baseline_name}")
    print(f"improvement {gain.estimate:+.4f}, between {gain.low:+.4f} and {gain.high:+.4f}")
    print(result.verdict, result.aliases)
    await agent.close()


asyncio.run(main())
