import asyncio

from optagent import create_optimization_agent


async def main():
    agent = await create_optimization_agent()
    report = await agent.analyze_model("pumps", analysis_type="full", time_range="2026-04-10..2026-04-11")
    print(report.diagnosis.verdict, report.diagnosis.remedy)
    for reason in report.diagnosis.reasons:
        print("-", reason)
    await agent.close()


asyncio.run(main())
