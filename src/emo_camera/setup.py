from setuptools import find_packages, setup

package_name = "emo_camera"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="emo developers",
    maintainer_email="emo@example.org",
    description="Pictures in: a camera, a video file in real time, or another topic.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "camera = emo_camera.camera:main",
        ],
    },
)
