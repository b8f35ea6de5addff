import asyncio
from pathlib import Path

from optagent import ProgressView, create_optimization_agent


async def main():
    async with await create_optimization_agent() as agent:
        await agent.register_model(Path("model.yaml"))
        result = await agent.tune_hyperparameters(model_id="churn", trials=3, on_progress=ProgressView())
        print(result.to_frame().to_string(index=False))
        study = await agent.study(result.process_id)
        print(study.to_frame()[["number", "family", "state", "score"]].to_string(index=False))


asyncio.run(main())
