optagent rollout start churn --candidate challenger --policy label_delay_s=0 --policy min_rows=200 \
    --policy step_rows=200 --policy baking_s=5          # a few thousand requests, not two weeks
optagent rollout status churn                # also promote, abort, rollback, list
