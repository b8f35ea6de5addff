import asyncio

from optagent import create_optimization_agent


async def main():
    agent = await create_optimization_agent()
    gates = {"accuracy_min": 0.7, "max_latency_ms": 50}
    result = await agent.optimize_model("churn", "tune", trials=6, gates=gates)
    if result.status == "success":
        print(f"{result.improvement_percentage:.2f}%", result.new_metrics.accuracy)
    else:
        print(result.status, result.error_message)
    await agent.close()


asyncio.run(main())
