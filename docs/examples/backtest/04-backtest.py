import asyncio

from optagent import create_optimization_agent


async def main():
    agent = await create_optimization_agent()
    comparison = await agent.backtest_model("churn", "rows.parquet", "7d", ["scheduled:90d"], step="14d", trials=2)
    print(comparison.recommended)
    await agent.close()


asyncio.run(main())
