import asyncio

from optagent import create_optimization_agent


async def main():
    agent = await create_optimization_agent()
    fields = {"id": "spend", "task": "regression", "data": "rows.parquet", "target": "spend", "ignore": ["churned"]}
    await agent.register_model(fields)
    print([model.model_id for model in await agent.models()])
    await agent.close()


asyncio.run(main())
