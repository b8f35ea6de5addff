optagent backtest churn --policy conservative,scheduled:60d --label-delay 7d --step 7d --trials 2 --html backtest.html
