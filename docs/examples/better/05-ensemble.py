import asyncio

from optagent import create_optimization_agent


async def main():
    agent = await create_optimization_agent()
    result = await agent.create_ensemble(base_models=["churn", "churn_linear/1"], ensemble_method="voting")
    if "error" not in result:
        print(result["accepted"], result["diversity_score"], result["metrics"])
    await agent.close()


asyncio.run(main())
