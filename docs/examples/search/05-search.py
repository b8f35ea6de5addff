import asyncio

from optagent import create_optimization_agent


async def main():
    agent = await create_optimization_agent()
    fields = {
        "id": "churn_linear",
        "task": "binary",
        "data": "rows.parquet",
        "target": "churned",
        "families": ["linear"],
    }
    await agent.register_model(fields)
    result = await agent.tune_hyperparameters(model_id="churn_linear", method="optuna", trials=10)
    if "error" not in result:
        print(f"Best parameters: {result['best_params']}")
        print(f"Best score: {result['best_score']:.4f}")
        print(f"Holdout: {result.holdout.estimate:.4f} ({result.holdout.low:.4f} to {result.holdout.high:.4f})")
    await agent.close()


asyncio.run(main())
