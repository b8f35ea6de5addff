import asyncio

from optagent import create_optimization_agent


async def main():
    async with await create_optimization_agent(strict=True) as agent:
        # --8<-- [start:score]
        account = await agent.score("churn", "rows.parquet", "again.parquet")
        print(account.rows, account.version, account.notes)
        # --8<-- [end:score]


asyncio.run(main())
