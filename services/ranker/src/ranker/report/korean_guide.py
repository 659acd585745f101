"""How the page is to be read, in Korean: what holds of every ranking, and what this one has. Pure."""

from __future__ import annotations

from lanekit.results.ranking import Ranking

ALWAYS = (
    "점수 = max({quality:g} × Perf/Perf_base + {speed:g} × (1 − 토큰당 초/기준 모델의 토큰당 초), 0). "
    "Perf는 벤치마크의 가중 평균이고, 기준 모델(baseline)과 후보의 속도는 한 자리에서 번갈아 잰다.",
    "구간은 {percent:g} % 신뢰 구간이다. 문항을 다시 뽑아(부트스트랩) 구하며, 점수의 구간에는 속도 "
    "측정의 잡음도 들어 있다.",
    "≈ 표시가 있는 레인끼리는 점수 차이의 구간이 0을 포함하므로 순서를 구별할 수 없다.",
    "◆ 표시는 품질·속도·크기에서 더 나은 레인이 없는 파레토 경계이고, ⚠ 표시는 학습·보정 데이터에 "
    "벤치마크 문항이 섞인 레인이다.",
    "위의 ‘주의’에 적힌 경고와 탈락 이유는 측정 기록 그대로이며 영어로 적혀 있다.",
)
MARGIN = (
    "품질 저하 판정: 기준 모델 값의 {margin:g} %를 허용 손실로 둔다. 차이의 구간 전체가 −허용 손실 "
    "위에 있으면 ‘저하 없음’, 아래에 있으면 ‘저하’, 그 밖에는 ‘판정 불가’이다. ‘필요 문항’은 판정에 "
    "필요한 문항 수이다."
)
ON_CPU = (
    "이 표의 속도는 CPU에서 잰 것이다. GPU의 속도를 말해 주지 않으므로 제출할 레인을 이 속도로 고르면 "
    "안 된다."
)
REPLICATED = (
    "반복(replicate)이 있는 레인은 보정 데이터와 학습 시드를 달리해 여러 번 만든 것이다. 점수는 "
    "평균이고, 패키지는 미리 정한 첫 번째 것이다. 가장 좋은 것을 고르면 운으로 좋아 보이기 때문이다."
)
POOLED = (
    "가중치의 모양과 형식이 같은 레인은 같은 커널을 쓰므로, 길이가 고정된 측정에서는 속도를 함께 묶어 "
    "하나로 둔다."
)


def explain_in_korean(ranking: Ranking, quality_weight: float, confidence: float) -> list[str]:
    """Return the sentences of the guide."""
    numbers = {"quality": quality_weight, "speed": 1 - quality_weight, "percent": 100 * confidence}
    lines = [sentence.format(**numbers) for sentence in ALWAYS]
    if ranking.margin:
        lines.insert(-1, MARGIN.format(margin=100 * ranking.margin))
    lanes = ranking.lanes
    if any(lane.replicates and lane.replicates.perf for lane in lanes):
        lines.insert(-1, REPLICATED)
    if any(lane.pooled_with for lane in lanes):
        lines.insert(-1, POOLED)
    if any(lane.record.speed and lane.record.speed.is_cpu for lane in lanes):
        lines.insert(0, ON_CPU)
    return lines
